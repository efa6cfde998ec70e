"""Hostile pictures at the reader: each becomes a model's input or an error of the contract, soon, in little memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.corpus import corpus
from tests.fuzz.form import HANG_S
from tiers.config import ImageLimits
from tiers.errors import BadItem
from tiers.transform import FastTransform, Preprocessing

TRANSFORM = FastTransform(Preprocessing(size=224, mode="RGB", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
GROWTH_MIB = 400
"""Twenty-five million pixels of four bytes, as read and as converted, and what is around them."""
MEASURE = """
import resource, sys
from contextlib import suppress
from tests.fuzz.corpus import corpus
from tests.fuzz.test_corpus import TRANSFORM
from tiers.config import ImageLimits
from tiers.errors import BadItem
files = corpus()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in files.values():
    with suppress(BadItem):
        TRANSFORM.prepare(data, ImageLimits())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def prepare(data: bytes) -> tuple[int, ...] | str:
    """The shape of what a model is given, or the code of the error."""
    try:
        return tuple(TRANSFORM.prepare(data, ImageLimits()).shape)
    except BadItem as error:
        return error.code


@pytest.mark.parametrize("name", corpus())
def test_hostile_picture_is_embedded_or_refused_soon(name: str) -> None:
    """Nothing else is raised, no warning is given, and no decoder is kept busy."""
    data = corpus()[name]

    started = time.perf_counter()
    what_became_of_it = prepare(data)
    took_s = time.perf_counter() - started

    assert what_became_of_it in {(3, 224, 224), "unsupported_media", "too_large", "bad_image"}
    assert took_s < HANG_S


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("bomb.png", "too_large"),
        ("screen.gif", "too_large"),
        ("huge.jpeg", "too_large"),
        ("huge.bmp", "too_large"),
        ("huge.webp", "too_large"),
        ("scans.jpeg", "too_large"),
        ("nothing", "unsupported_media"),
        ("vector.svg", "unsupported_media"),
        ("postscript.eps", "unsupported_media"),
        ("cut-50.jpeg", "bad_image"),
    ],
)
def test_hostile_picture_is_refused_for_what_it_is(name: str, code: str) -> None:
    """Too large by its header, of no format that is read, or damaged."""
    with pytest.raises(BadItem) as caught:
        TRANSFORM.prepare(corpus()[name], ImageLimits())

    assert caught.value.code == code


def test_hostile_pictures_take_bounded_memory() -> None:
    """One after another in one process, which grows by no more than the largest picture takes."""
    repository = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=repository, capture_output=True, text=True, check=True, timeout=120
    )

    assert int(run.stdout) < GROWTH_MIB
