"""How many values a body may hold: said before they are made, in both encodings."""

import json
import tracemalloc

import msgpack
import orjson
import pytest

from router.document_size import MAX_VALUES, check_json_size
from router.errors import InvalidRequest, TooLarge
from router.http import JSON, MSGPACK, parse_object, read_request
from tests.unit.test_http import Client

BODY_BYTES = 8 * 2**20
"""The default limit of a body."""
MAX_DEPTH = 1024
"""Lists in lists that both decoders follow."""


def parse(data: bytes, content_type: str) -> dict[str, object]:
    """Decode a body of this type."""
    headers = [(b"content-type", content_type.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    return parse_object(read_request(scope, Client().receive), data)


def many(count: int) -> dict[str, object]:
    """A document of so many values: a field, a list, and what is in it."""
    return {"a": ["ab"] * (count - 3)}


@pytest.mark.parametrize(("encode", "content_type"), [(orjson.dumps, JSON), (msgpack.packb, MSGPACK)])
def test_body_has_so_many_values_and_no_more(encode: object, content_type: str) -> None:
    """The limit itself is admitted; commas and brackets do not count where they are part of a text."""
    assert callable(encode)
    texts = {"a": ["[,{" * 20 + '\\"' * 3] * 5000}

    assert parse(encode(texts), content_type) == texts
    assert parse(encode(many(MAX_VALUES)), content_type) == many(MAX_VALUES)
    with pytest.raises(TooLarge, match="at most 100000 values"):
        parse(encode(many(MAX_VALUES + 10)), content_type)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b'{"a":[' + b"[]," * (BODY_BYTES // 3) + b"0]}", JSON),
        (b'{"a":[' + b"{}," * (BODY_BYTES // 3) + b"0]}", JSON),
        (b'{"a":[' + b"0," * (BODY_BYTES // 2) + b"0]}", JSON),
        (b'{"a":[' + b'"ab",' * (BODY_BYTES // 5) + b"0]}", JSON),
        (b'{"a":[' + b'"",' * (BODY_BYTES // 3), JSON),
        (b"\x81\xa1a\xdd\x00\x70\x00\x00" + b"\x80" * 0x700000, MSGPACK),
        (b"\x81\xa1a\xdc\xff\xff" + (b"\xdc\x00\x70" + b"\x80" * 0x70) * 0xFFFF, MSGPACK),
        (b"\x81\xa1a\xdd\x00\x10\x00\x00" + b"\xa2ab" * 0x100000, MSGPACK),
    ],
    ids=["lists", "objects", "numbers", "texts", "unclosed", "maps in a list", "maps in lists", "texts in msgpack"],
)
def test_small_values_do_not_become_large_memory(data: bytes, content_type: str) -> None:
    """Eight megabytes that would be half a gigabyte of empty maps are refused while they are small."""
    tracemalloc.start()
    with pytest.raises((TooLarge, InvalidRequest)):
        parse(data, content_type)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 6 * BODY_BYTES


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH + 1])
@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_lists_in_lists_are_followed_so_far(content_type: str, depth: int) -> None:
    """Both decoders stop at the same depth, and say that the body is not valid."""
    in_json, in_msgpack = b'{"a":' + b"[" * depth + b"]" * depth + b"}", b"\x81\xa1a" + b"\x91" * (depth - 1) + b"\x90"
    data = in_json if content_type == JSON else in_msgpack

    if depth < MAX_DEPTH:
        assert parse(data, content_type).keys() == {"a"}
    else:
        with pytest.raises(InvalidRequest, match="not valid"):
            parse(data, content_type)


@pytest.mark.parametrize("head", [b"\xdf\xff\xff\xff\xff", b"\x81\xa1a\xdd\xff\xff\xff\xff"])
def test_length_beyond_the_limit_is_refused_by_what_is_declared(head: bytes) -> None:
    """Four billion fields or items, of which none ever comes."""
    with pytest.raises(TooLarge):
        parse(head, MSGPACK)


def test_values_are_counted_where_a_body_is_valid() -> None:
    """What follows a quote that is never closed is no value; the decoder refuses it."""
    check_json_size(b'["' + b"," * (3 * MAX_VALUES))
    with pytest.raises(TooLarge):
        check_json_size(json.dumps([[]] * (2 * MAX_VALUES)).encode() + b'"')
