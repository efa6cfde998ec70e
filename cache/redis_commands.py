"""Commands as they go over the wire to Redis, and what may come back for them. Pure functions."""

from collections.abc import Callable, Sequence
from typing import cast

import hiredis

from cache.errors import StoreUnavailable
from cache.link import Entries, Values

_VALUE_TYPES = {bytes, type(None)}


class ReplyError(Exception):
    """What Redis answered in place of a value: out of memory, read-only, no permission."""


def pack(*words: bytes) -> bytes:
    """Return one command."""
    return cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)(words)


def pack_lookup(prefix: bytes, keys: Sequence[bytes]) -> bytes:
    """Return the command that asks for values: MGET."""
    if len(set(map(len, keys))) != 1:
        return pack(b"MGET", *[prefix + key for key in keys])
    # Keys of one length have all the same before them: one join, which costs a tenth.
    separator = b"\r\n$%d\r\n%b" % (len(prefix) + len(keys[0]), prefix)
    return b"*%d\r\n$4\r\nMGET%b%b\r\n" % (len(keys) + 1, separator, separator.join(keys))


def read_values(replies: Sequence[object], count: int) -> Values | None:
    """Return the values that MGET was answered, None for an error.

    Raises:
        StoreUnavailable: This is no answer to MGET of so many keys.
    """
    (reply,) = replies
    if isinstance(reply, ReplyError):
        return None
    if type(reply) is list and len(reply) == count and set(map(type, reply)) <= _VALUE_TYPES:
        return cast("Values", reply)
    raise StoreUnavailable("an answer to something else")


def pack_writes(prefix: bytes, entries: Entries, ttl_s: int) -> bytes:
    """Return the commands that write entries, each with its own answer: SET, with a lifetime or without."""
    count, expiry = (5, b"$2\r\nEX\r\n%b" % _bulk(b"%d" % ttl_s)) if ttl_s else (3, b"")
    parts: list[bytes] = []
    for key, value in entries:
        head = b"*%d\r\n$3\r\nSET\r\n$%d\r\n%b%b\r\n$%d\r\n" % (count, len(prefix) + len(key), prefix, key, len(value))
        parts += (head, value, b"\r\n", expiry)
    return b"".join(parts)


def count_refused(replies: Sequence[object]) -> int:
    """Return how many SETs were answered by an error.

    Raises:
        StoreUnavailable: One was answered by something that is no answer to SET.
    """
    refused = sum([isinstance(reply, ReplyError) for reply in replies])
    if refused + replies.count(b"OK") + replies.count(None) != len(replies):
        raise StoreUnavailable("an answer to something else")
    return refused


def check_pong(replies: Sequence[object]) -> None:
    """Make sure that a PING was answered.

    Raises:
        StoreUnavailable: It was not.
    """
    if list(replies) != [b"PONG"]:
        raise StoreUnavailable(f"no answer to PING: {replies[0]!r}"[:100])


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)
