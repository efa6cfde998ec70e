"""URLs of images, in the one plain form that every parser reads alike, and the hosts that are admitted. Pure."""

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from router.errors import InvalidRequest

MAX_URL_CHARS = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}
# Printable ASCII without the backslash, which some parsers take for a slash.
_CHARACTERS = re.compile(r"[!-\[\]-~]+")
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[([0-9a-f.]*:[0-9a-f:.]*)\]|([a-z0-9.-]+))(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class StrictUrl(NamedTuple):
    """A URL, parsed once: what is checked is what is connected to."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""
    is_address: bool
    """Whether the host is an IP address and no name."""

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class AdmittedHosts:
    """The operator's allow-list of hosts and ports."""

    def __init__(self, hosts: Iterable[str], ports: Iterable[int]) -> None:
        self._names = frozenset(hosts)
        self._suffixes = tuple(name for name in self._names if name.startswith("."))
        self._ports = frozenset(ports)

    def check(self, url: StrictUrl) -> None:
        """Refuse what is not on the list; an IP address is on it only as itself.

        Raises:
            InvalidRequest: The host or the port is not admitted.
        """
        is_named = url.host in self._names or (not url.is_address and url.host.endswith(self._suffixes))
        if not is_named or url.port not in self._ports:
            raise InvalidRequest("the URL's host or port is none that this service fetches images from")


def parse_url(text: str) -> StrictUrl:
    """Parse a URL, or refuse it: there is no second reading of what is not plain.

    Raises:
        InvalidRequest: The scheme, the host's form or a character is not one of those that are read.
    """
    if len(text) > MAX_URL_CHARS:
        raise InvalidRequest(f"a URL has at most {MAX_URL_CHARS} characters")
    parts = _URL.fullmatch(text) if _CHARACTERS.fullmatch(text) else None
    if parts is None:
        raise InvalidRequest("a URL is data:, http:// or https://, of printable ASCII characters, others %-encoded")
    scheme, authority, target = parts.groups()
    host, port, is_address = _parse_authority(authority, scheme)
    return StrictUrl(scheme, host, port, target if target.startswith("/") else f"/{target}", is_address)


def is_host_entry(entry: str) -> bool:
    """Whether an entry of the allow-list is a host that a URL can name, or a domain's suffix: `.example.com`."""
    if entry.startswith("."):
        return entry.count(".") > 1 and _is_name(entry[1:])
    return _is_name(entry) or _is_address(entry)


def _parse_authority(authority: str, scheme: str) -> tuple[str, int, bool]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is not None:
        in_brackets, plain, port = parts.groups()
        host = in_brackets or plain
        is_address = _is_address(host)
        if is_address or _is_name(host):
            return host, int(port or DEFAULT_PORTS[scheme]), is_address
    raise InvalidRequest(
        "a URL's host is a lower-case name or an IP address in its usual notation, with neither user nor password"
    )


def _is_name(host: str) -> bool:
    """Whether labels are joined by dots, the last of them no number: that would be one of the many ways of IPv4."""
    labels = host.split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.fullmatch(labels[-1])


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return str(ipaddress.ip_address(host)) == host and "%" not in host
    return False
