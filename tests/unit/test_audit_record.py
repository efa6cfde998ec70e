"""Audit records: what they say, and that they are read back."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.audit_record import AuditRecord, read_record
from tests.policies import RECORD

NAMES = st.text(max_size=20)
SHARES = st.floats(0, 1, exclude_min=True)
TARGETS = st.floats(0, 1, exclude_min=True, exclude_max=True)
RECORDS = st.builds(
    AuditRecord,
    at=st.floats(0, 1e11),
    group=NAMES,
    policy=NAMES,
    certificate=st.none() | NAMES,
    target=st.none() | TARGETS,
    fast_model=NAMES,
    accurate_model=NAMES,
    threshold=st.floats(0, allow_nan=False),
    share=SHARES,
    served=st.sampled_from(["fast", "accurate"]),
    escalated=st.booleans(),
    degraded=st.none() | st.sampled_from(["accurate_shed", "accurate_open", "accurate_timeout", "budget"]),
    margin=st.floats(0, 1e6),
    confidence=SHARES,
    agrees=st.booleans(),
    lost=st.none()
    | st.sampled_from(["busy", "shed", "timeout", "unavailable", "unknown_key", "model_changed", "failed"]),
)


@given(record=RECORDS | RECORDS.map(lambda one: one._replace(margin=None, agrees=None, lost="shed")))
def test_record_is_read_as_it_was_written(record: AuditRecord) -> None:
    """Infinite thresholds included."""
    assert read_record(record.to_bytes()) == record


@given(data=st.binary(max_size=200))
def test_garbage_is_no_record(data: bytes) -> None:
    """Whatever the bytes are, they are refused in one way."""
    with pytest.raises(ValueError, match="not an audit record"):
        read_record(data)


@given(record=RECORDS, length=st.integers(0, 1000))
def test_record_that_was_cut_off_is_none(record: AuditRecord, length: int) -> None:
    """Nothing of it is guessed."""
    data = record.to_bytes()

    with pytest.raises(ValueError, match="not an audit record"):
        read_record(data[: length % len(data)])


@pytest.mark.parametrize("missing", ["group", "share", "served", "threshold"])
def test_record_that_lacks_what_was_always_there_is_none(missing: str) -> None:
    """Half a record counts for nothing."""
    fields = RECORD._asdict()
    del fields[missing]

    with pytest.raises(ValueError, match="not an audit record"):
        read_record(msgpack.packb(fields))


@pytest.mark.parametrize(
    "changes",
    [{"target": "high"}, {"share": None}, {"margin": "wide"}, {"agrees": 2}, {"served": "neither"}, {"group": 5}],
)
def test_record_of_the_wrong_types_is_none(changes: dict[str, object]) -> None:
    """Who counts what it says would fail in the middle."""
    with pytest.raises(ValueError, match="not an audit record"):
        read_record(msgpack.packb(RECORD._asdict() | changes))


@pytest.mark.parametrize(
    "changes",
    [{"target": 1.0}, {"share": 0.0}, {"margin": -1.0}, {"margin": float("nan")}, {"agrees": None}, {"margin": None}],
)
def test_record_that_can_not_be_counted_is_none(changes: dict[str, object]) -> None:
    """Chances and targets of none, and an audit that was not lost without its outcome."""
    with pytest.raises(ValueError, match="not an audit record"):
        read_record(msgpack.packb(RECORD._asdict() | changes))


def test_fields_of_a_later_version_are_left_out() -> None:
    """Routers of two versions share a log while one is rolled out."""
    data = msgpack.packb({**RECORD._asdict(), "weather": "fine"})

    assert read_record(data) == RECORD


def test_fields_that_an_earlier_version_did_not_write_are_unknown() -> None:
    """What has a default may be missing."""
    fields = RECORD._asdict()
    del fields["lost"], fields["confidence"]

    assert read_record(msgpack.packb(fields)) == RECORD._replace(confidence=None)


@pytest.mark.parametrize(
    ("changes", "is_error", "counts"),
    [
        ({}, False, True),
        ({"agrees": False}, True, True),
        ({"agrees": False, "served": "accurate", "escalated": True}, False, True),
        ({"agrees": False, "degraded": "budget"}, True, False),
        ({"agrees": None, "margin": None, "lost": "shed"}, False, False),
    ],
)
def test_error_is_what_the_fast_tier_served_otherwise(
    changes: dict[str, object],
    is_error: bool,  # noqa: FBT001 - a parameter
    counts: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A second look mends it; degraded and lost ones count for no promise."""
    record = RECORD._replace(**changes)  # type: ignore[arg-type] # fields by name

    assert (record.is_error, record.counts) == (is_error, counts)


def test_record_is_small() -> None:
    """So that 200,000 of them fit where the configuration says."""
    full = RECORD._replace(certificate="c-0123456789ab", target=0.99, degraded="accurate_timeout")

    assert len(full.to_bytes()) < 450
