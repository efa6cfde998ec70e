"""What the tiers are held to, and the pictures that they are sent."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.bounds import best_batch, reachable_latency_ms, reachable_rate, reachable_share
from bench.payloads import IMAGE_BYTES
from bench.photographs import SCENES, SIZE, photographs
from bench.poisons import poisoned_pictures
from bench.tier_service import calls_between, text_batches
from tiers.config import ImageLimits
from tiers.errors import BadItem
from tiers.images import open_image


def test_preparing_takes_its_share_of_the_cores_from_the_model() -> None:
    """At 25 images/s on two cores, 20 ms of one core for each image make 40 ms of both 50."""
    assert reachable_rate(25.0, 0.02, cores=2) == pytest.approx(20.0)


@given(st.floats(0.1, 1e4), st.floats(0, 1), st.integers(1, 64))
def test_no_rate_is_above_the_models_own(ceiling: float, prepare_cpu_s: float, cores: int) -> None:
    """Preparing only ever costs, and what costs nothing changes nothing."""
    assert reachable_rate(ceiling, prepare_cpu_s, cores) <= ceiling * (1 + 1e-9)
    assert reachable_rate(ceiling, 0.0, cores) == pytest.approx(ceiling)


def test_latency_over_http_may_be_that_in_process_and_an_empty_requests() -> None:
    """With 15 % on top of the former."""
    assert reachable_latency_ms(100.0, 2.0) == pytest.approx(117.0)


def test_poisoned_requests_may_take_their_share_and_the_allowance() -> None:
    """One in sixteen and a tenth leave 84 % to the others; without poison the tenth alone is allowed."""
    assert reachable_share(good=150, poisoned=10, allowance=0.1) == pytest.approx(0.8375)
    assert reachable_share(good=150, poisoned=0, allowance=0.1) == pytest.approx(0.9)


def test_best_batch_is_the_best_of_most_rounds() -> None:
    """One lucky round chooses nothing."""
    rounds = [{"8": 20.0, "16": 25.0}, {"8": 21.0, "16": 24.0}, {"8": 90.0, "16": 23.0}]

    assert best_batch(rounds) == "16"


def test_photographs_are_distinct_real_pictures_of_about_the_size() -> None:
    """A set shares no file with the next one, nor its own."""
    files = [*photographs(2 * SCENES), *photographs(SCENES, first=1000)]

    assert len(set(files)) == 3 * SCENES
    assert all(0.9 * IMAGE_BYTES < len(file) <= IMAGE_BYTES for file in files)
    assert all(Image.open(io.BytesIO(file)).size == SIZE for file in files)


def test_photographs_repeat_with_their_numbers() -> None:
    """Two runs send the same files; two numbers of one scene are two pictures."""
    one, again, other = next(photographs(1, 3)), next(photographs(1, 3)), next(photographs(1, 3 + SCENES))

    pixels = [np.asarray(Image.open(io.BytesIO(file))) for file in (one, other)]
    assert one == again
    assert (pixels[0] != pixels[1]).any()


def test_every_poisoned_picture_is_refused_and_none_comes_twice() -> None:
    """Truncated, too many pixels, too small: each by the limits that a tier has."""
    files = list(poisoned_pictures(9))

    codes = []
    for file in files:
        with pytest.raises(BadItem) as refused:
            open_image(file, ImageLimits())
        codes.append(refused.value.code)
    assert codes == ["bad_image", "too_large", "bad_image"] * 3
    assert len(set(files)) == 9


def test_texts_of_requests_never_repeat() -> None:
    """Not within a request and not between two."""
    batches = text_batches(10, first=500, texts_per_request=24)

    assert len({text for texts in batches for text in texts}) == 240


def test_items_a_call_are_those_of_the_time_between() -> None:
    """What went to the tier before does not count; of no call there is no mean."""
    before, after = {"items": 10, "calls": 10}, {"items": 90, "calls": 20}

    assert calls_between(before, after)["items_per_call"] == 8
    assert np.isnan(calls_between(before, before)["items_per_call"])
