"""Pictures for tests: scenes of the demo's world, distinct from seed to seed, as encoded files."""

import base64
import io

import numpy as np
from PIL import Image

from demo.captions import Wording, hard_negatives, sample_claim, say
from demo.scenes import Scene, Split, render, sample_scene


def scene(seed: int) -> Scene:
    """A held-out scene; equal seeds give equal scenes."""
    return sample_scene(np.random.default_rng(seed), Split.HELD_OUT)


def encode(image: Image.Image, file_format: str = "PNG") -> bytes:
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def picture(seed: int, file_format: str = "PNG") -> bytes:
    """A rendered scene as the bytes of a file."""
    return encode(render(scene(seed)), file_format)


def captions(seed: int, count: int = 6) -> list[str]:
    """The true caption of a seed's scene first, then false ones that differ from it in one thing."""
    generator = np.random.default_rng(seed + 1_000_000)
    claim, wording = sample_claim(scene(seed), generator), Wording.sample(generator)
    negatives = hard_negatives(scene(seed), claim, wording, generator, count=count - 1)
    return [say(claim, wording), *(negative.text for negative in negatives)]


def as_base64(data: bytes) -> str:
    """Bytes as the API takes them in JSON."""
    return base64.b64encode(data).decode()
