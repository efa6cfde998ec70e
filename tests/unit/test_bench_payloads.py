"""The benchmarks' requests: real images of an exact size, popularity by Zipf's law, the mark of an ideal cache."""

import base64
import io

import msgpack
import numpy as np
import orjson
import pytest
from PIL import Image

from bench.ideal_cache import popular_hits, unbounded_hits
from bench.payloads import (
    IMAGE_BYTES,
    TEXTS_PER_REQUEST,
    Picture,
    all_hit,
    caption,
    distinct,
    png,
    similarity,
    zipf_draw,
    zipf_requests,
    zipf_shares,
)
from bench.wire import END_OF_HEAD
from bench.zipf import accesses_by_popularity


def body_of(request: bytes) -> bytes:
    """The body, whose length the head announces."""
    head, _, body = request.partition(END_OF_HEAD)
    assert f"content-length: {len(body)}".encode() in head
    return body


def test_padded_picture_is_exactly_so_large_and_decodes_to_the_same_pixels() -> None:
    """The padding is a chunk that decoders skip."""
    plain, padded = png(3), png(3, IMAGE_BYTES)

    assert len(padded) == IMAGE_BYTES
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (plain, padded)]
    assert (pixels[0] == pixels[1]).all()


def test_picture_cannot_be_padded_below_its_own_size() -> None:
    """A file that is too small to hold the picture is refused."""
    with pytest.raises(ValueError, match="size_bytes"):
        png(3, 100)


def test_no_picture_and_no_caption_comes_twice() -> None:
    """Distinct questions share nothing, also beyond the captions that need no number."""
    questions = [*distinct(200, 0), *distinct(200, 1_000_000)]

    assert len({picture.data for picture, _ in questions}) == 400
    assert len({text for _, texts in questions for text in texts}) == 400 * TEXTS_PER_REQUEST
    assert len({caption(number) for number in range(49_000, 51_000)}) == 2_000


def test_each_form_carries_the_same_image() -> None:
    """Base64 in JSON, bytes in msgpack, and the content key alone."""
    ((picture, texts),) = all_hit(1)
    known = Picture(picture.data, "i:00")

    by_base64 = orjson.loads(body_of(similarity(known, texts, "base64")))
    by_bytes = msgpack.unpackb(body_of(similarity(known, texts, "bytes", "fast")))
    by_key = orjson.loads(body_of(similarity(known, texts, "key")))

    assert base64.b64decode(by_base64["images"][0]["image"]) == picture.data
    assert by_bytes == {"images": [{"image": picture.data}], "texts": texts, "tier": "fast"}
    assert by_key == {"images": [{"key": "i:00"}], "texts": texts}


def test_key_form_needs_the_key() -> None:
    """It is the service that tells it."""
    with pytest.raises(ValueError, match="key"):
        similarity(Picture(b""), ["a"], "key")


def test_zipf_shares_fall_by_the_exponent_and_sum_to_one() -> None:
    """The first is 2 to the 1.1 times as popular as the second."""
    shares = zipf_shares(1000)

    assert shares.sum() == pytest.approx(1)
    assert shares[0] / shares[1] == pytest.approx(2**1.1)


def test_zipf_draw_repeats_with_its_seed_and_no_text_within_a_request() -> None:
    """Two runs see the same traffic."""
    draw, again = zipf_draw(50, seed=1, images=20, texts=40), zipf_draw(50, seed=1, images=20, texts=40)

    assert (draw.images == again.images).all()
    assert (draw.texts == again.texts).all()
    assert all(len(set(row)) == TEXTS_PER_REQUEST for row in draw.texts.tolist())


def test_equal_draws_make_equal_requests() -> None:
    """The popular image is the same file each time that it is drawn."""
    draw = zipf_draw(30, seed=1, images=2, texts=10)

    images = [orjson.loads(body_of(request))["images"][0]["image"] for request in zipf_requests(draw)]

    assert len(set(images)) == len(set(draw.images.tolist()))


def test_unbounded_cache_misses_each_thing_once() -> None:
    """Everything but first accesses is a hit."""
    assert unbounded_hits([1, 2, 1, 1, 3, 2]) == 3


def test_ideal_bounded_cache_keeps_the_popular_things_only() -> None:
    """With room for two, things 0 and 1 hit from their second access on, others never."""
    assert popular_hits([0, 5, 0, 5, 1, 1, 0], capacity=2) == 3


def test_popularity_counts_images_and_texts_together() -> None:
    """The first text, asked for in most requests, is more popular than the first image."""
    draw = zipf_draw(5, seed=2)
    draw.images[0], draw.texts[0, 0] = 0, 0

    accesses = accesses_by_popularity(draw)

    assert accesses[1] < accesses[0]
    assert len(accesses) == 5 * (1 + TEXTS_PER_REQUEST)
