"""Whatever comes in, what comes out is a value or an error of the contract: soon, and in memory in proportion to it."""

import json
import logging
import struct
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from cache.errors import InvalidKey
from cache.keys import parse_public_key
from router.api_keys import KeyRing, key_in
from router.content_parts import as_items
from router.deadline import request_deadline
from router.errors import ApiError
from router.http import JSON, MSGPACK, MULTIPART, Request, parse_body, read_request
from router.ranking_schemas import ClassifyRequest, RerankRequest, ScoreRequest, SearchRequest
from router.readings import ListReader
from router.schemas import EmbeddingsRequest, SimilarityRequest
from router.traffic import traffic_class
from tests.fakes import READER
from tests.fuzz.corpus import NOISE, corpus, encode
from tests.fuzz.form import BUDGET_S, HANG_S
from tests.keys import USER, entry
from tests.unit.test_http import Client
from tiers.config import ImageLimits
from tiers.errors import BadItem
from tiers.images import FORMATS
from tiers.transform import FastTransform, Preprocessing

Target = Callable[[Any], object]
MODELS: list[type[BaseModel]] = [
    SimilarityRequest,
    EmbeddingsRequest,
    ClassifyRequest,
    ScoreRequest,
    RerankRequest,
    SearchRequest,
]
NAMES = sorted({name for model in MODELS for name in model.model_fields} | {"text", "image", "image_url", "key", "url"})
SAMPLE = 10
"""Every so many cases memory is measured, which slows them down."""
MEMORY_BYTES = 16 * 2**20
BATCH = 200
TRANSFORM = FastTransform(Preprocessing(size=32, mode="RGB", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
SMALL = ImageLimits(max_pixels=1_000_000)
FILES = [data for data in corpus().values() if len(data) < 20_000] + [encode(NOISE, one) for one in FORMATS]
RING = KeyRing([entry(USER)])
# As a router does; what is logged is also kept, for the case that a test fails.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def fuzz(cases: st.SearchStrategy[Any], target: Target) -> None:
    """Try cases for as long as the form says. Each batch draws new ones."""
    end, tried = time.monotonic() + BUDGET_S, [0]

    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def batch(case: Any) -> None:
        if time.monotonic() < end:
            tried[0] += 1
            bounded(target, case, is_measured=tried[0] % SAMPLE == 0)

    while time.monotonic() < end:
        batch()
    print(f"{tried[0]} cases")  # noqa: T201 - shown by -s


def bounded(target: Target, case: Any, *, is_measured: bool) -> None:
    """Run one case and hold its CPU time (a parser waits for nothing), and now and then its memory, to their bounds."""
    if is_measured:
        tracemalloc.start()
    started = time.thread_time()
    try:
        target(case)
    except (ApiError, BadItem, InvalidKey):
        pass
    finally:
        took_s, peak = time.thread_time() - started, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert took_s < HANG_S
    assert peak < MEMORY_BYTES


def request(content_type: str, headers: list[tuple[bytes, bytes]] | None = None) -> Request:
    """A request of this type."""
    scope = {"type": "http", "method": "POST", "path": "/v1/similarity"}
    given = [(b"content-type", content_type.encode("latin-1", "replace")), *(headers or [])]
    return read_request({**scope, "headers": given}, Client().receive)


def take(data: bytes, content_type: str) -> None:
    """Take a body as every route does, and what is in it as items."""
    for model in MODELS:
        try:
            body = parse_body(request(content_type), data, model)
        except ApiError:
            continue
        reader = ListReader(READER)
        for value in body.model_dump().values():
            items = as_items(value)
            reader.texts(items), reader.images(items), reader.mixed(items, "text", "input")


words = st.text(max_size=12) | st.sampled_from(
    [*NAMES, "\u200b" * 9, "\ud800", "e\u0301" * 9, "data:image/png;base64,", "i:01" + "0" * 32, "\x00", "fast", "auto"]
)
scalars = (
    st.none()
    | st.booleans()
    | words
    | st.floats()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([-0.0, float("nan"), float("inf"), 5e-324, 1.7e308])
)


def documents(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Documents whose fields are often those of requests."""
    inner = st.recursive(leaves, lambda one: st.lists(one, max_size=4) | st.dictionaries(words, one, max_size=3))
    return st.dictionaries(st.sampled_from(NAMES) | words, inner | st.lists(inner, max_size=5), max_size=5)


def splice(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """Write other bytes over some places."""
    changed = bytearray(data)
    for place, new in changes:
        at = place % (len(changed) + 1)
        changed[at : at + len(new)] = new
    return bytes(changed)


changes = st.lists(st.tuples(st.integers(0, 2**20), st.binary(max_size=6)), max_size=6)
pieces = st.sampled_from(
    [
        *(
            b'{"',
            b'":',
            b",",
            b"[",
            b"]",
            b"{",
            b"}",
            b"[" * 900,
            b"]" * 900,
            b'"',
            b"\\ud83d",
            b"\\u0000",
            b"\\",
            b"NaN",
        ),
        *(b"1e400", b"-0", b"1" * 400, b"Infinity", b"null", b"\xef\xbb\xbf", b"\xff", b" ", b'"k":1,', b"k" * 5000),
        *(b"\xe2\x80\x8b", *(f'"{name}":'.encode() for name in NAMES)),
    ]
)
in_json = st.builds(
    splice,
    documents(scalars).map(lambda one: json.dumps(one).encode()) | st.lists(pieces, max_size=30).map(b"".join),
    changes,
)
extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)) | st.builds(
    msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1)
)
heads = st.builds(
    lambda kind, size: bytes([kind]) + struct.pack(">I", size), st.integers(0xC0, 0xDF), st.integers(0, 2**32 - 1)
)
in_msgpack = st.builds(
    splice,
    documents(scalars | st.binary(max_size=30) | extensions).map(
        lambda one: bytes(msgpack.packb(one, unicode_errors="surrogatepass"))
    )
    | st.lists(heads | st.binary(max_size=8) | st.just(b"\x91" * 900), max_size=20).map(b"".join),
    changes,
)
lines = st.sampled_from(
    [
        *(b"--x\r\n", b"\r\n--x\r\n", b"--x--\r\n", b"\r\n--x--", b"\r\n", b"\r\n\r\n", b"\n", b"--x\n", b"--", b"\r"),
        b"Content-Disposition: form-data; name=texts\r\n\r\n",
        b'Content-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n',
        b'Content-Disposition: form-data; name="\\"threshold\r\n\r\n',
        b"Content-Disposition: form-data; name*=utf-8''top_k\r\n\r\n",
        b"Content-Disposition: form-data; name*=bogus''%ff\r\n\r\n",
        b"Content-Disposition: form-data" + b"; a=b" * 700 + b"\r\n\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        *(b"1e400", b"nan", b"1" * 5000, b"true", b"A: b\r\n" * 50, b"\xff\xfe"),
    ]
)
in_a_form = st.tuples(
    st.just("multipart/form-data; boundary=x")
    | st.text(alphabet="boundary=;\"'\\ x-*%\u00e9", max_size=40).map(lambda rest: f"{MULTIPART};{rest}"),
    st.builds(splice, st.lists(lines | st.binary(max_size=40), max_size=25).map(b"".join), changes),
)


def test_any_json_is_a_body_or_refused() -> None:
    """Broken, deep, large numbers, halves of surrogates, names that come again, text that nobody sees."""
    fuzz(in_json, lambda data: take(data, JSON))


def test_any_msgpack_is_a_body_or_refused() -> None:
    """Lengths that lie, extensions, times out of time, NaN, deep lists."""
    fuzz(in_msgpack, lambda data: take(data, MSGPACK))


def test_any_form_is_a_body_or_refused() -> None:
    """Boundaries that are none, headers of every sort, numbers that are none."""
    fuzz(in_a_form, lambda form: take(form[1], form[0]))


def test_any_file_is_a_picture_or_refused() -> None:
    """Good and hostile files with some of their bytes changed, and cut."""
    files = st.builds(
        lambda data, new, end: splice(data, new)[: len(data) - end],
        st.sampled_from(FILES),
        changes,
        st.just(0) | st.integers(0, 4000),
    )
    fuzz(files, lambda data: TRANSFORM.prepare(data, SMALL))


def test_any_header_is_understood_or_refused() -> None:
    """Any bytes that a server lets through: a value, none, or what the route makes an invalid request of."""
    names = st.sampled_from([b"x-deadline-ms", b"x-traffic-class", b"authorization", b"x-api-key", b"x-request-id"])
    values = st.binary(max_size=60) | st.sampled_from(
        [b"\xb2", b"1" * 8000, b"-1", b"1e5", b"0", b" 7", b"Bearer", b"bearer \xff", b"Bearer " * 999, b"warm-up", b""]
    )
    fuzz(st.tuples(names, values), lambda header: take_header(*header))


def take_header(name: bytes, value: bytes) -> None:
    """Take a header as the routes and the access do."""
    asked = request(JSON, [(name, value)])
    assert asked.request_id.isascii()
    assert asked.request_id.isprintable()
    assert RING.find(key_in(asked.headers), 0.0) is None
    for read in (lambda text: request_deadline(text, 30.0, 0.0).at <= 30.0, traffic_class):
        try:
            assert read(asked.header(name))
        except ValueError:
            continue


def test_any_text_is_a_content_key_or_none() -> None:
    """Exactly those that an answer can hold."""
    texts = st.text(max_size=50) | st.from_regex(r"[it]:0[0-9][0-9a-fA-F]{30,34}\n?")
    fuzz(texts, lambda text: parse_public_key(text) and READER.read({"key": text}, "text"))
