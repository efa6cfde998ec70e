"""How each server is asked for one embedding, and where its answer has it."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from bench.wire import post

Kind = Literal["text", "image"]
KINDS: tuple[Kind, ...] = ("text", "image")
OURS, OURS_INT8 = "secondlook", "secondlook int8"
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class Api:
    """One server's HTTP API: a whole request for a text or an image, and the vector in an answer."""

    text: Callable[[str], bytes]
    image: Callable[[bytes], bytes]
    vector: Callable[[Any], Sequence[float]]


def openai_vector(answer: Mapping[str, Any]) -> Sequence[float]:
    """Return the embedding of an answer in OpenAI's shape."""
    vector: Sequence[float] = answer["data"][0]["embedding"]
    return vector


def our_text(text: str) -> bytes:
    """Ask the fast tier to embed a text."""
    return _json(EMBEDDINGS, {"model": "fast", "input": [text]})


def our_image(file: bytes) -> bytes:
    """Ask the fast tier to embed an image."""
    return _json(EMBEDDINGS, {"model": "fast", "input": [{"image": _base64(file)}]})


def infinity_text(text: str) -> bytes:
    """Ask Infinity to embed a text."""
    return _json("/embeddings", {"model": "clip", "input": [text]})


def infinity_image(file: bytes) -> bytes:
    """Ask Infinity to embed an image."""
    document = {"model": "clip", "modality": "image", "input": [f"data:image/jpeg;base64,{_base64(file)}"]}
    return _json("/embeddings", document)


def litserve_text(text: str) -> bytes:
    """Ask our program on LitServe to embed a text."""
    return _json("/text", {"text": text})


def litserve_image(file: bytes) -> bytes:
    """Ask our program on LitServe to embed an image."""
    return _json("/image", {"image": _base64(file)})


def litserve_vector(answer: Mapping[str, Any]) -> Sequence[float]:
    """Return the embedding of our program on LitServe."""
    vector: Sequence[float] = answer["embedding"]
    return vector


def bentoml_text(text: str) -> bytes:
    """Ask our program on BentoML to embed a text."""
    return _json("/text", {"texts": [text]})


def bentoml_image(file: bytes) -> bytes:
    """Ask our program on BentoML to embed an image."""
    return _json("/image", {"images": [_base64(file)]})


def bentoml_vector(answer: Sequence[Sequence[float]]) -> Sequence[float]:
    """Return the embedding of our program on BentoML, which answers with a matrix."""
    return answer[0]


_OUR_API = Api(our_text, our_image, openai_vector)
APIS: dict[str, Api] = {
    OURS: _OUR_API,
    OURS_INT8: _OUR_API,
    "infinity": Api(infinity_text, infinity_image, openai_vector),
    "litserve": Api(litserve_text, litserve_image, litserve_vector),
    "bentoml": Api(bentoml_text, bentoml_image, bentoml_vector),
}


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode("ascii")


def _json(path: str, document: Mapping[str, Any]) -> bytes:
    return post(path, orjson.dumps(document))
