"""From audit records to samples in which every question had the same chance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.audit_record import AuditRecord
from router.audit_sample import GroupSample, group_samples, losses
from tests.policies import ACCURATE_NAME, FAST_NAME, RECORD

MODELS = (FAST_NAME, ACCURATE_NAME)
LOST = RECORD._replace(margin=None, confidence=None, agrees=None, lost="shed")


def only(records: list[AuditRecord]) -> GroupSample:
    """The one group's sample."""
    (sample,) = group_samples(records, MODELS)
    return sample


def test_no_records_are_no_samples() -> None:
    """Rather than an empty one of some group."""
    assert group_samples([], MODELS) == ()


def test_records_are_sorted_by_group() -> None:
    """Each group is a sample of its own."""
    records = [RECORD._replace(group=group) for group in ("similarity/9-16", "classify/2", "similarity/9-16")]

    assert [(one.group, len(one.sample.margin)) for one in group_samples(records, MODELS)] == [
        ("classify/2", 1),
        ("similarity/9-16", 2),
    ]


@pytest.mark.parametrize("changes", [{"fast_model": "other@1"}, {"accurate_model": "other@1"}])
def test_records_of_other_models_are_left_out(changes: dict[str, str]) -> None:
    """They say nothing of these two."""
    other = RECORD._replace(**changes)  # type: ignore[arg-type] # fields by name

    assert len(only([RECORD, other]).sample.margin) == 1
    assert group_samples([other], MODELS) == ()


def test_sample_is_what_the_records_say() -> None:
    """In their order."""
    records = [RECORD, RECORD._replace(margin=0.5, confidence=0.6, agrees=False, degraded="budget")]

    group = only(records)

    np.testing.assert_array_equal(group.sample.margin, [2.0, 0.5])
    np.testing.assert_array_equal(group.sample.agrees, [True, False])
    np.testing.assert_array_equal(group.confidence, [0.9, 0.6])


def test_shed_share_is_of_the_second_looks_that_the_budget_allowed() -> None:
    """Answers that the budget degraded asked the accurate tier for nothing."""
    looked = RECORD._replace(escalated=True, served="accurate")
    shed = RECORD._replace(degraded="accurate_shed")

    assert only([RECORD, RECORD._replace(degraded="budget")]).shed_share == 0.0
    assert only([RECORD, looked, looked, looked, shed]).shed_share == pytest.approx(0.25)


def test_lost_audits_are_counted_and_no_part_of_the_sample() -> None:
    """What was not seen is neither agreement nor disagreement."""
    group = only([RECORD, LOST, LOST])

    assert (len(group.sample.margin), group.lost) == (1, 2)


def test_group_of_lost_audits_alone_is_an_empty_sample() -> None:
    """Of a group that there was."""
    group = only([LOST])

    assert (len(group.sample.margin), group.lost, group.share) == (0, 1, 1.0)


def test_losses_are_counted_by_why() -> None:
    """Those that were not lost are none."""
    records = [RECORD, LOST, LOST, LOST._replace(lost="busy")]

    assert losses(records) == {"shed": 2, "busy": 1}


@given(share=st.floats(0.001, 1), count=st.integers(1, 200))
def test_records_of_one_share_are_all_kept(share: float, count: int) -> None:
    """Nothing is thinned out where there is nothing to even out."""
    group = only([RECORD._replace(share=share)] * count)

    assert (len(group.sample.margin), group.share) == (count, share)
    assert group.weight == pytest.approx(1 / share)


def test_records_of_a_higher_share_are_thinned_out_to_the_lowest() -> None:
    """By lot, within what chance allows once in a million; those of the lowest all stay."""
    often = [RECORD._replace(share=0.4, margin=1.0)] * 20_000
    seldom = [RECORD._replace(share=0.1, margin=2.0)] * 1_000

    group = only([*often, *seldom])

    kept = int(np.count_nonzero(group.sample.margin == 1.0))
    assert int(np.count_nonzero(group.sample.margin == 2.0)) == 1_000
    assert abs(kept - 5_000) < 4.9 * math.sqrt(20_000 * 0.25 * 0.75)
    assert group.share == 0.1


def test_lost_audits_are_thinned_out_like_the_others() -> None:
    """Else their share would be told too high."""
    lost = [LOST._replace(share=1.0)] * 10_000

    group = only([*lost, RECORD._replace(share=0.5)])

    assert abs(group.lost - 5_000) < 4.9 * math.sqrt(10_000 * 0.25)


def test_lowest_share_is_its_groups_own() -> None:
    """Another group's does not thin this one out."""
    records = [RECORD] * 50 + [RECORD._replace(group="classify/2", share=0.01)]

    samples = {one.group: one for one in group_samples(records, MODELS)}

    assert (len(samples[RECORD.group].sample.margin), samples[RECORD.group].share) == (50, 1.0)


def test_thinning_is_reproducible() -> None:
    """The same log makes the same certificate."""
    records = [RECORD._replace(share=share, margin=float(i)) for i, share in enumerate([1.0, 0.3] * 200)]

    np.testing.assert_array_equal(only(records).sample.margin, only(records).sample.margin)
