"""Photograph-like JPEGs of about 60 KB, each file another: random shapes of all sizes, the larger the stronger."""

import functools
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.payloads import IMAGE_BYTES

SIZE = (640, 480)
SCENES = 8
"""So many are drawn; the others are one of them with a patch of another colour somewhere."""
PATCH_SIDE = 48
FINEST_SIDE = 4
FINEST_CONTRAST = 40.0
QUALITIES = (30, 95)

Levels = NDArray[np.uint8]


def photographs(count: int, first: int = 0, size_bytes: int = IMAGE_BYTES) -> Iterator[bytes]:
    """Yield JPEG files of a little less than `size_bytes`; `first` sets sets apart from each other."""
    for number in range(first, first + count):
        scene = number % SCENES
        yield jpeg(_patched(_scene(scene), number), _quality(scene, size_bytes))


def photograph(number: int) -> bytes:
    """Return one of them."""
    return next(photographs(1, number))


def jpeg(levels: Levels, quality: int) -> bytes:
    """Return a picture, shape (height, width, 3), as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def draw(size: tuple[int, int], seed: int) -> Levels:
    """Return a picture with structure of all sizes, as photographs have it: (height, width, 3)."""
    generator = np.random.default_rng(seed)
    width, height = size
    levels = np.full((height, width, 3), 128.0)
    side = FINEST_SIDE
    while side < 2 * max(size):
        contrast = FINEST_CONTRAST * (FINEST_SIDE / side) ** 0.6
        layer = generator.normal(0, contrast, (min(side, height), min(side, width), 3))
        for channel in range(3):
            plane = Image.fromarray(layer[..., channel].astype(np.float32))
            levels[..., channel] += np.asarray(plane.resize(size, Image.Resampling.BICUBIC))
        side *= 2
    clipped: Levels = np.clip(levels, 0, 255).astype(np.uint8)
    return clipped


@functools.lru_cache(SCENES)
def _scene(number: int) -> Levels:
    return draw(SIZE, number)


@functools.lru_cache(4 * SCENES)
def _quality(scene: int, size_bytes: int) -> int:
    """Return the best quality at which the scene's file, and so its variants', is small enough."""
    worst, best = QUALITIES
    # A patch hides structure, and costs at most its own edges.
    limit = int(0.98 * size_bytes)
    while worst < best:
        middle = (worst + best + 1) // 2
        worst, best = (middle, best) if len(jpeg(_scene(scene), middle)) <= limit else (worst, middle - 1)
    return worst


def _patched(levels: Levels, number: int) -> Levels:
    generator = np.random.default_rng(number)
    patched = levels.copy()
    top = int(generator.integers(0, SIZE[1] - PATCH_SIDE))
    left = int(generator.integers(0, SIZE[0] - PATCH_SIDE))
    patched[top : top + PATCH_SIDE, left : left + PATCH_SIDE] = generator.integers(0, 256, 3)
    return patched
