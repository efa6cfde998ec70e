"""Bodies of similarity requests: distinct, popular by Zipf's law, or few enough to be all hits."""

import base64
import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from bench.wire import JSON, MSGPACK, post

ImageForm = Literal["base64", "bytes", "key"]
SIMILARITY = "/v1/similarity"
EMBEDDINGS = "/v1/embeddings"
TEXTS_PER_REQUEST = 8
IMAGE_BYTES = 60_000
PICTURE_SIDE = 48
ZIPF_EXPONENT = 1.1
ZIPF_IMAGES, ZIPF_TEXTS = 2_000, 10_000
_SIGNATURE_AND_HEADER = 8 + 25
_COLOURS = ("red", "green", "blue", "white", "black", "brown", "pink", "grey", "gold", "cyan")
_SHAPES = ("circle", "square", "star", "cross", "ring", "heart", "cube", "cone", "bar", "leaf")
_PLACES = ("above", "below", "left of", "right of", "inside")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a request: its file, and its content key once a service has told it."""

    data: bytes
    key: str | None = None


def png(seed: int, size_bytes: int | None = None) -> bytes:
    """Return a small picture as a PNG file, distinct from seed to seed.

    Args:
        seed: Equal seeds give equal files.
        size_bytes: Make the file exactly so large, by a chunk that decoders skip and that does not compress.
    """
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST).save(buffer, "PNG")
    file = buffer.getvalue()
    if size_bytes is None:
        return file
    padding = size_bytes - len(file) - 12
    if padding < 0:
        raise ValueError(f"size_bytes: the picture alone has {len(file)}")
    chunk = b"paDd" + generator.bytes(padding)
    padded = struct.pack(">I", padding) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return file[:_SIGNATURE_AND_HEADER] + padded + file[_SIGNATURE_AND_HEADER:]


def caption(number: int) -> str:
    """Return a short text, distinct from number to number."""
    number, colour = divmod(number, len(_COLOURS))
    number, shape = divmod(number, len(_SHAPES))
    number, place = divmod(number, len(_PLACES))
    number, other_colour = divmod(number, len(_COLOURS))
    number, other_shape = divmod(number, len(_SHAPES))
    text = f"a {_COLOURS[colour]} {_SHAPES[shape]} {_PLACES[place]} a {_COLOURS[other_colour]} {_SHAPES[other_shape]}"
    return f"{text} {number}" if number else text


def similarity(picture: Picture, texts: Sequence[str], form: ImageForm, tier: str = "auto") -> bytes:
    """Return a whole request that compares one image with texts."""
    fields: dict[str, Any] = {"texts": list(texts)} | ({} if tier == "auto" else {"tier": tier})
    if form == "bytes":
        return post(SIMILARITY, msgpack.packb({"images": [{"image": picture.data}], **fields}), MSGPACK)
    if form == "key" and picture.key is None:
        raise ValueError("the picture's content key is not known")
    image = {"key": picture.key} if form == "key" else {"image": base64.b64encode(picture.data).decode("ascii")}
    return post(SIMILARITY, orjson.dumps({"images": [image], **fields}), JSON)


def image_embedding(data: bytes, model: str = "fast") -> bytes:
    """Return a whole request for one image's embedding: bytes in msgpack."""
    return post(EMBEDDINGS, msgpack.packb({"model": model, "input": [{"image": data}]}), MSGPACK)


def text_embeddings(texts: Sequence[str], model: str = "fast") -> bytes:
    """Return a whole request for the embeddings of some texts, as OpenAI's clients ask for them."""
    return post(EMBEDDINGS, orjson.dumps({"model": model, "input": list(texts), "encoding_format": "base64"}), JSON)


def all_hit(count: int, size_bytes: int = IMAGE_BYTES, first_seed: int = 0) -> list[tuple[Picture, list[str]]]:
    """Return a few questions to ask again and again: one image of 60 KB, eight texts."""
    return [
        (Picture(png(first_seed + number, size_bytes)), captions(number * TEXTS_PER_REQUEST, TEXTS_PER_REQUEST))
        for number in range(count)
    ]


def distinct(count: int, first: int, size_bytes: int | None = None) -> Iterator[tuple[Picture, list[str]]]:
    """Yield questions of which no image and no text comes twice; `first` sets sets apart from each other."""
    for number in range(first, first + count):
        yield Picture(png(number, size_bytes)), captions(number * TEXTS_PER_REQUEST, TEXTS_PER_REQUEST)


@dataclass(frozen=True, slots=True)
class ZipfDraw:
    """Numbers of the image and of the eight texts of each request, the most popular being number 0."""

    images: NDArray[np.int64]
    texts: NDArray[np.int64]


def zipf_draw(requests: int, seed: int, images: int = ZIPF_IMAGES, texts: int = ZIPF_TEXTS) -> ZipfDraw:
    """Draw requests whose images and texts are popular by Zipf's law; no text comes twice in one request."""
    generator = np.random.default_rng(seed)
    drawn = generator.choice(images, size=requests, p=zipf_shares(images))
    shares = zipf_shares(texts)
    rows = [generator.choice(texts, size=TEXTS_PER_REQUEST, replace=False, p=shares) for _ in range(requests)]
    return ZipfDraw(drawn, np.array(rows).reshape(requests, TEXTS_PER_REQUEST))


def zipf_shares(count: int, exponent: float = ZIPF_EXPONENT) -> NDArray[np.float64]:
    """Return the share of each of `count` things, the most popular first."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def zipf_requests(draw: ZipfDraw, form: ImageForm = "base64", tier: str = "auto", first: int = 0) -> list[bytes]:
    """Return the drawn requests; `first` sets one set's pictures and texts apart from another's."""
    pictures: dict[int, Picture] = {}
    requests: list[bytes] = []
    for image, texts in zip(draw.images.tolist(), draw.texts.tolist(), strict=True):
        picture = pictures.get(image)
        if picture is None:
            picture = pictures[image] = Picture(png(first + image))
        requests.append(similarity(picture, [caption(first + text) for text in texts], form, tier))
    return requests


def captions(first: int, count: int) -> list[str]:
    """Return consecutive captions."""
    return [caption(number) for number in itertools.islice(itertools.count(first), count)]
