"""API keys: made at random, known by their hash, found in a request's headers. The clock is an argument.

A key is 256 bits from the operating system. Nobody can try them out, however fast the hash is: a slow one, as passwords
need it because they can be guessed, would only cost each request a tenth of a second.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from router.access_config import KeyEntry, check_unique
from router.errors import ConfigInvalid

PREFIX = "sl_"
"""What keys begin with, so that scanners for leaked secrets know them."""
KEY_BYTES = 32
MIN_CHARS = 32
"""Of a key that an operator brings along: what can be guessed can be tried out, at the speed of the hash."""
API_KEY_VARIABLE, ADMIN_KEY_VARIABLE = "SECONDLOOK_API_KEY", "SECONDLOOK_ADMIN_KEY"
_BEARER = re.compile(rb"bearer +([\x21-\x7e]+) *", re.IGNORECASE)
_USABLE = re.compile(rf"[\x21-\x7e]{{{MIN_CHARS},512}}")


class Caller(NamedTuple):
    """Who asks: a key, whose it is and what it may do."""

    key_id: str
    tenant: str
    is_admin: bool


class _Known(NamedTuple):
    digest: bytes
    caller: Caller
    expires_at: float


_NOBODY = _Known(bytes(32), Caller("", "", is_admin=False), float("-inf"))


def new_key() -> str:
    """Make a key."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def hash_key(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_in(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key that a request brings along: a bearer token, or else X-Api-Key; empty where it has none."""
    found = _BEARER.fullmatch(headers.get(b"authorization", b""))
    return found[1] if found else headers.get(b"x-api-key", b"").strip(b" ")


class KeyRing:
    """The keys that count, never changed: others are another ring."""

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        """Take keys of any source together.

        Raises:
            ConfigInvalid: Two of them have one id, or one hash.
        """
        entries = list(entries)
        try:
            check_unique(entries)
        except ValueError as error:
            raise ConfigInvalid(str(error)) from error
        known = (_known(entry) for entry in entries)
        self._known = {one.digest: one for one in known}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: bytes, now: float) -> Caller | None:
        """Return whose key this is; None for a wrong one, and for one that has expired by `now` (Unix time).

        It takes the same steps in each case. The search itself can be timed only by who can choose digests, and that
        takes a preimage of SHA-256 for each step.
        """
        digest = hashlib.sha256(key).digest()
        known = self._known.get(digest, _NOBODY)
        is_equal, is_valid = hmac.compare_digest(known.digest, digest), now < known.expires_at
        return known.caller if is_equal & is_valid else None


def environment_keys(environment: Mapping[str, str]) -> tuple[KeyEntry, ...]:
    """Return the keys that a service is given by its environment, of the tenant `default`.

    Raises:
        ConfigInvalid: One could be guessed, or can't be sent in a header.
    """
    entries: list[KeyEntry] = []
    for variable, entry_id, role in ((API_KEY_VARIABLE, "env-api", "user"), (ADMIN_KEY_VARIABLE, "env-admin", "admin")):
        key = environment.get(variable, "")
        if not key:
            continue
        if _USABLE.fullmatch(key) is None:
            raise ConfigInvalid(f"{variable}: expected {MIN_CHARS} to 512 printable characters without spaces")
        entries.append(KeyEntry.model_validate({"id": entry_id, "hash": hash_key(key), "role": role}))
    # One key for both is an admin's.
    admins = {entry.hash for entry in entries if entry.role == "admin"}
    return tuple(entry for entry in entries if entry.role == "admin" or entry.hash not in admins)


def _known(entry: KeyEntry) -> _Known:
    caller = Caller(entry.id, entry.tenant, entry.role == "admin")
    expires_at = float("inf") if entry.expires_at is None else entry.expires_at.timestamp()
    return _Known(bytes.fromhex(entry.hash), caller, expires_at)
