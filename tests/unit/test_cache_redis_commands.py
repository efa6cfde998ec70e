"""Commands for Redis byte by byte, and which replies are taken for answers to them."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import StoreUnavailable
from cache.redis_commands import (
    ReplyError,
    check_pong,
    count_refused,
    pack,
    pack_lookup,
    pack_writes,
    read_values,
)

PREFIX = b"sl:"
ERROR = ReplyError("OOM command not allowed")
KEYS = st.lists(st.binary(max_size=40), min_size=1, max_size=20)
SAME_LENGTH_KEYS = st.integers(0, 40).flatmap(
    lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=20)
)


def parse(packed: bytes) -> list[object]:
    """Return the commands as Redis reads them."""
    nothing = object()
    reader = hiredis.Reader(notEnoughData=nothing)
    reader.feed(packed)
    commands: list[object] = []
    while (command := reader.gets()) is not nothing:
        commands.append(command)
    return commands


@given(KEYS | SAME_LENGTH_KEYS)
def test_lookup_asks_for_every_key_behind_the_prefix(keys: list[bytes]) -> None:
    """Whatever bytes the keys hold, and whether or not they are of one length."""
    assert parse(pack_lookup(PREFIX, keys)) == [[b"MGET", *[PREFIX + key for key in keys]]]


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=2000)), max_size=20), st.sampled_from([0, 3600]))
def test_writes_set_every_entry(entries: list[tuple[bytes, bytes]], ttl_s: int) -> None:
    """One SET each, with the lifetime if there is one."""
    expiry = [b"EX", b"3600"] if ttl_s else []

    expected = [[b"SET", PREFIX + key, value, *expiry] for key, value in entries]

    assert parse(pack_writes(PREFIX, entries, ttl_s)) == expected


def test_any_command_is_its_words() -> None:
    """A word may hold line ends."""
    assert parse(pack(b"SET", b"a\r\nb", b"", b"NX")) == [[b"SET", b"a\r\nb", b"", b"NX"]]


def test_values_are_read_from_the_reply() -> None:
    """Values and misses in order; an error is no values."""
    assert read_values([[b"one", None]], 2) == [b"one", None]
    assert read_values([ERROR], 2) is None


@pytest.mark.parametrize("reply", [b"OK", 2, None, [], [b"one"], [b"one", 2], [b"one", [b"two"]], [b"one", ERROR]])
def test_reply_to_something_else_is_no_values(reply: object) -> None:
    """A reply of another shape than the question's proves that replies and questions no longer match."""
    with pytest.raises(StoreUnavailable):
        read_values([reply], 2)


def test_refused_writes_are_counted() -> None:
    """Each SET is answered for itself; one that was not to replace is not refused."""
    assert count_refused([b"OK", ERROR, None, ERROR]) == 2
    with pytest.raises(StoreUnavailable):
        count_refused([b"OK", b"PONG"])


def test_only_pong_answers_ping() -> None:
    """Anything else, an error included, is no sign of a store that can be used."""
    check_pong([b"PONG"])
    for other in (b"OK", ERROR, [b"PONG"]):
        with pytest.raises(StoreUnavailable):
            check_pong([other])
