"""multipart/form-data bodies: what they stand for, and what a bad one is told."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from router.errors import ApiError, InvalidRequest, TooLarge
from router.multipart import LIST_FIELDS, MAX_PARTS, parse_multipart
from router.ranking_schemas import ClassifyRequest, RerankRequest, ScoreRequest
from router.schemas import EmbeddingsRequest, SimilarityRequest

Files = list[tuple[str, tuple[str | None, bytes]]]


def encode(files: Files) -> tuple[str, bytes]:
    """A body as httpx writes it: its content type and bytes."""
    request = httpx.Request("POST", "http://localhost/", files=files)
    return request.headers["content-type"], request.read()


def test_multipart_files_are_bytes_and_repeated_fields_are_lists() -> None:
    """Two images, two texts and a threshold."""
    files: Files = [
        ("images", ("one.png", b"\x89PNG\r\n--\r\n\x00")),
        ("images", ("two.png", b"")),
        ("texts", (None, "ein Mädchen".encode())),
        ("texts", (None, b"a dog")),
        ("threshold", (None, b"0.25")),
        ("tier", (None, b"fast")),
    ]

    document = parse_multipart(*encode(files))

    assert document == {
        "images": [b"\x89PNG\r\n--\r\n\x00", b""],
        "texts": ["ein Mädchen", "a dog"],
        "threshold": 0.25,
        "tier": "fast",
    }


@pytest.mark.parametrize(
    ("name", "sent", "value"),
    [
        ("top_k", b"3", 3),
        ("top_n", b"2", 2),
        ("return_documents", b"true", True),
        ("return_documents", b"false", False),
        ("query", b"3", "3"),
        ("labels", b"3", ["3"]),
    ],
)
def test_multipart_fields_are_of_their_kind(name: str, sent: bytes, value: object) -> None:
    """A form has nothing but text: the name says what it stands for."""
    assert parse_multipart(*encode([(name, (None, sent))])) == {name: value}


@pytest.mark.parametrize(("name", "sent"), [("top_k", b"many"), ("return_documents", b"yes")])
def test_multipart_field_of_another_kind_is_refused(name: str, sent: bytes) -> None:
    """And named."""
    with pytest.raises(InvalidRequest) as caught:
        parse_multipart(*encode([(name, (None, sent))]))

    assert caught.value.param == name


@pytest.mark.parametrize("model", [SimilarityRequest, EmbeddingsRequest, ClassifyRequest, ScoreRequest, RerankRequest])
def test_multipart_knows_every_list_of_a_request(model: type[BaseModel]) -> None:
    """What a body holds as a list, a form holds as a name that comes again."""
    lists = {
        name
        for name, schema in model.model_json_schema()["properties"].items()
        if any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))
    }

    assert lists <= LIST_FIELDS


def test_multipart_field_given_twice_is_refused() -> None:
    """Only lists take a name more than once."""
    with pytest.raises(InvalidRequest) as caught:
        parse_multipart(*encode([("tier", (None, b"fast")), ("tier", (None, b"accurate"))]))

    assert caught.value.param == "tier"


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_multipart_without_boundary_is_refused(content_type: str) -> None:
    """There is no telling where its parts end."""
    with pytest.raises(InvalidRequest):
        parse_multipart(content_type, b"--x\r\n\r\n--x--")


def test_multipart_cut_off_is_refused() -> None:
    """Half a picture is no picture."""
    content_type, data = encode([("images", ("one.png", b"x" * 100))])

    with pytest.raises(InvalidRequest):
        parse_multipart(content_type, data[:-60])


def test_multipart_part_without_name_is_refused() -> None:
    """Nobody could say what it is for."""
    body = b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--\r\n"

    with pytest.raises(InvalidRequest):
        parse_multipart("multipart/form-data; boundary=x", body)


@given(st.binary(max_size=400))
def test_multipart_garbage_is_an_api_error_or_a_document(garbage: bytes) -> None:
    """Whatever comes in, nothing else comes out."""
    try:
        document = parse_multipart("multipart/form-data; boundary=x", b"--x\r\n" + garbage)
    except ApiError:
        return

    assert isinstance(document, dict)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_multipart_gives_back_every_file(contents: list[bytes]) -> None:
    """Bytes arrive as they were sent."""
    document = parse_multipart(*encode([("images", (f"{i}.png", data)) for i, data in enumerate(contents)]))

    assert document == {"images": contents}


def test_multipart_cut_off_behind_two_dashes_is_refused() -> None:
    """A text that ends like a boundary is none; what follows the real one does not matter."""
    head = b"--x\r\nContent-Disposition: form-data; name=texts\r\n\r\na dog --"

    with pytest.raises(InvalidRequest):
        parse_multipart("multipart/form-data; boundary=x", head)
    assert parse_multipart("multipart/form-data; boundary=x", head + b"\r\n--x--\r\nepilogue") == {
        "texts": ["a dog --"]
    }


def test_multipart_of_too_many_parts_is_too_large() -> None:
    """Parts are cheap to send and dear to keep; the last that is admitted is."""
    many: Files = [("texts", (None, b"a cat"))] * MAX_PARTS

    assert parse_multipart(*encode(many)) == {"texts": ["a cat"] * MAX_PARTS}
    with pytest.raises(TooLarge, match=f"at most {MAX_PARTS} parts"):
        parse_multipart(*encode([*many, ("texts", (None, b"a dog"))]))
