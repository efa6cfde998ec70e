"""API keys: made, hashed, found in headers, matched, expired."""

import logging
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.access_config import AccessConfig, KeyEntry, QuotaConfig
from router.api_keys import Caller, KeyRing, environment_keys, hash_key, key_in, new_key
from router.errors import ConfigInvalid
from tests.keys import ADMIN, OTHER, USER, entry

NOW = 1_000_000.0
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)
BYTES = st.binary(max_size=80)


def test_new_keys_differ_and_say_what_they_are() -> None:
    """256 random bits behind the prefix, in characters that no shell or header minds."""
    keys = {new_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(re.fullmatch(r"sl_[A-Za-z0-9_-]{43}", key) for key in keys)


@given(TOKENS, st.sampled_from(["Bearer", "bearer", "BEARER", "bEaReR"]), st.integers(1, 3), st.integers(0, 3))
def test_bearer_token_is_found_however_its_scheme_is_written(token: str, scheme: str, before: int, after: int) -> None:
    """Schemes have no case (RFC 9110), and some send more than one space."""
    header = f"{scheme}{' ' * before}{token}{' ' * after}".encode()

    assert key_in({b"authorization": header}) == token.encode()


@given(TOKENS)
def test_x_api_key_is_taken_where_there_is_no_bearer_token(token: str) -> None:
    """Also beside credentials of another scheme, which are a proxy's."""
    assert key_in({b"x-api-key": token.encode()}) == token.encode()
    assert key_in({b"x-api-key": token.encode(), b"authorization": b"Basic abc"}) == token.encode()


@given(BYTES, BYTES)
def test_headers_of_any_bytes_are_read_without_a_fault(authorization: bytes, api_key: bytes) -> None:
    """What strangers send names nobody."""
    key = key_in({b"authorization": authorization, b"x-api-key": api_key})

    assert KeyRing([entry(USER)]).find(key, NOW) is None


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer\ta", b"Basic a", b" Bearer a"])
def test_what_is_no_bearer_token_is_no_key(header: bytes) -> None:
    """Nothing is guessed."""
    assert key_in({b"authorization": header}) == b""


def test_key_is_known_by_its_hash() -> None:
    """With its tenant and its role; a key that differs in one character is not."""
    ring = KeyRing([entry(USER, "u", tenant="acme"), entry(ADMIN, "a", role="admin")])

    assert ring.find(USER.encode(), NOW) == Caller("u", "acme", is_admin=False)
    assert ring.find(ADMIN.encode(), NOW) == Caller("a", "default", is_admin=True)
    assert ring.find(USER[:-1].encode(), NOW) is None
    assert ring.find(hash_key(USER).encode(), NOW) is None
    assert ring.find(b"", NOW) is None


@given(st.binary(max_size=64))
def test_no_other_bytes_are_a_key(key: bytes) -> None:
    """An empty ring knows nobody, and a full one only its own."""
    assert KeyRing([]).find(key, NOW) is None
    assert KeyRing([entry(USER), entry(OTHER, "other")]).find(key, NOW) is None


def test_key_ends_at_its_time() -> None:
    """To the second; a time without a zone is UTC."""
    ring = KeyRing([entry(USER, expires_at="2030-01-01T00:00:00")])
    end = datetime(2030, 1, 1, tzinfo=UTC).timestamp()

    assert ring.find(USER.encode(), end - 1) is not None
    assert ring.find(USER.encode(), end) is None


@pytest.mark.parametrize(
    ("entries", "problem"),
    [([entry(USER), entry(OTHER)], "a-key stands there twice"), ([entry(USER), entry(USER, "b")], "one hash")],
)
def test_keys_that_can_not_be_told_apart_are_refused(entries: list[KeyEntry], problem: str) -> None:
    """An id names one key, and a key is of one tenant."""
    with pytest.raises(ConfigInvalid, match=problem):
        KeyRing(entries)
    with pytest.raises(ValidationError, match=problem):
        AccessConfig(keys=tuple(entries))


@pytest.mark.parametrize(
    "fields",
    [{"hash": USER}, {"hash": "AB" * 32}, {"tenant": ""}, {"tenant": "a:b"}, {"role": "root"}, {"id": "a b"}, {"x": 1}],
)
def test_entry_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    """A key in place of its hash among them."""
    with pytest.raises(ValidationError):
        entry(USER, **fields)


def test_entry_does_not_show_its_hash_where_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Hashes of keys can't be turned round, but have no business in logs."""
    logging.getLogger(__name__).warning("%r", entry(USER))

    assert hash_key(USER) not in caplog.text


def test_environment_brings_a_users_and_an_admins_key() -> None:
    """Of the default tenant; empty variables are none."""
    found = environment_keys({"SECONDLOOK_API_KEY": USER, "SECONDLOOK_ADMIN_KEY": ADMIN})

    assert [(one.id, one.role, one.tenant) for one in found] == [
        ("env-api", "user", "default"),
        ("env-admin", "admin", "default"),
    ]
    assert environment_keys({"SECONDLOOK_API_KEY": ""}) == ()


def test_one_key_in_both_variables_is_an_admins() -> None:
    """Whoever sets both to the same means one key for everything."""
    (found,) = environment_keys({"SECONDLOOK_API_KEY": USER, "SECONDLOOK_ADMIN_KEY": USER})

    assert found.role == "admin"


@pytest.mark.parametrize("key", ["secret", "a" * 31, "a" * 513, "a" * 31 + " ", "ü" * 40, "a" * 40 + "\n"])
def test_key_that_could_be_guessed_or_not_be_sent_is_refused(key: str) -> None:
    """The message names the variable and not the key."""
    with pytest.raises(ConfigInvalid, match="SECONDLOOK_ADMIN_KEY") as refused:
        environment_keys({"SECONDLOOK_ADMIN_KEY": key})

    assert key not in str(refused.value)


def test_burst_without_a_rate_is_refused() -> None:
    """An option that has no effect is a mistake; of a key it may loosen the default's."""
    with pytest.raises(ValidationError, match="requests_per_s"):
        AccessConfig(quota=QuotaConfig(burst=5))
    assert entry(USER, quota={"burst": 5}).quota.burst == 5


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.com", "https://a.example.com/", "https://A.com", "ftp://a"]
)
def test_origin_that_is_not_exact_is_refused(origin: str) -> None:
    """No wildcards: each page that may read answers is named."""
    with pytest.raises(ValidationError, match="expected a scheme"):
        AccessConfig(cors_origins=(origin,))
