"""What becomes of a call that goes wrong, and of the breaker, the bound and the waiters after it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from router.breaker import BreakerConfig, BreakerState
from router.deadline import Deadline
from router.errors import (
    ApiError,
    BadImage,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from router.items import Item
from router.tier_calls import TierShed, TierUnreachable
from router.tier_reply import Encoded
from tests.fakes import Clock, FakeTier, FakeTierHandle, image, make_tier, text
from tiers.errors import ItemCode
from tiers.messages import EncodeCall, EncodeReply

LATER = Deadline(1060.0)
TOUCHY = BreakerConfig(consecutive_failures=2, open_s=5.0)


async def ask(tier: FakeTier, *items: Item) -> list[Encoded | ApiError]:
    """Submit items and wait for their answers; an error is one, too."""
    return await collect(tier.calls.submit(items, LATER))


async def collect(answers: Sequence[asyncio.Future[Encoded]]) -> list[Encoded | ApiError]:
    """Wait for all answers, none of which may be lost."""
    _, lost = await asyncio.wait(answers, timeout=5)
    assert not lost
    errors = [answer.exception() for answer in answers]
    assert all(error is None or isinstance(error, ApiError) for error in errors)
    return [error if isinstance(error, ApiError) else one.result() for one, error in zip(answers, errors, strict=True)]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("too_large", TooLarge),
        ("unsupported_media", UnsupportedMedia),
        ("bad_image", BadImage),
        ("expired", DeadlineExceeded),
        ("internal", InternalError),
    ],
)
async def test_bad_item_fails_alone(code: ItemCode, error: type[ApiError]) -> None:
    """The item gets the contract's error for what the tier said; its neighbours get their vectors."""
    tier = make_tier(Clock())
    tier.handle.bad_items[b"bad"] = code

    good, bad, also_good = await ask(tier, image(b"good"), image(b"bad"), text("good"))

    assert type(bad) is error
    assert isinstance(good, Encoded)
    assert isinstance(also_good, Encoded)
    assert tier.calls.admission.held == 0


async def test_bad_items_do_not_count_against_the_tier() -> None:
    """Breakers never open on a caller's mistake."""
    tier = make_tier(Clock(), breaker=TOUCHY)
    tier.handle.bad_items[b"bad"] = "bad_image"

    for _ in range(5):
        await ask(tier, image(b"bad"))

    assert tier.breaker.state(1000.0) is BreakerState.CLOSED


async def test_shed_call_is_overloaded_and_leaves_the_breaker_alone() -> None:
    """A tier that sheds is alive: it is not retried, and not taken for broken."""
    tier = make_tier(Clock(), breaker=TOUCHY)
    tier.handle.fault = TierShed()

    for _ in range(5):
        (answer,) = await ask(tier, text("a"))
        assert isinstance(answer, Overloaded)
        assert answer.retry_after_s is not None

    assert len(tier.handle.calls) == 5
    assert tier.breaker.state(1000.0) is BreakerState.CLOSED
    assert (tier.calls.admission.held, tier.calls.counts.shed) == (0, 5)


async def test_warm_up_that_is_shed_takes_turns_and_costs_live_traffic_nothing() -> None:
    """Live limits stay as they are; of warm-up one call is under way from then on."""
    tier = make_tier(Clock(), items_per_call=1)
    limits = dict(tier.calls.admission.limits)
    tier.handle.faults.append(TierShed())
    await collect(tier.calls.submit([text("shed")], LATER, "warm_up"))
    tier.handle.hold()

    answers = tier.calls.submit([text("a"), text("b"), text("c")], LATER, "warm_up")
    await tier.handle.called(2)
    await asyncio.sleep(0.01)
    under_way = len(tier.handle.calls) - 1
    tier.handle.release()
    await collect(answers)

    assert dict(tier.calls.admission.limits) == limits
    assert under_way == 1
    assert len(tier.handle.calls) == 4


async def test_lost_call_is_sent_once_more() -> None:
    """A replica that died took the call along; another one answers it."""
    tier = make_tier(Clock())
    tier.handle.faults.append(TierUnreachable())

    (answer,) = await ask(tier, text("a"))

    assert isinstance(answer, Encoded)
    assert [call.texts for call in tier.handle.calls] == [("a",), ("a",)]
    assert tier.calls.counts.unreachable == 0


async def test_lost_call_whose_time_is_over_is_not_sent_again() -> None:
    """The replica took the deadline along."""
    clock = Clock()
    tier = make_tier(clock)
    tier.handle.hold()
    tier.handle.fault = TierUnreachable()
    answers = tier.calls.submit([text("a")], LATER)
    await tier.handle.called()

    clock.advance(60.0)
    tier.handle.release()

    assert isinstance((await collect(answers))[0], DeadlineExceeded)
    assert (len(tier.handle.calls), tier.calls.admission.held) == (1, 0)


async def test_call_lost_twice_is_unavailable() -> None:
    """One retry is all there is."""
    tier = make_tier(Clock())
    tier.handle.fault = TierUnreachable()

    answers = await ask(tier, text("a"), text("b"))

    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert len(tier.handle.calls) == 2
    assert (tier.calls.admission.held, tier.calls.counts.unreachable) == (0, 1)


async def test_call_that_takes_too_long_is_a_deadline_exceeded() -> None:
    """Its time is over, so it is not sent again."""
    tier = make_tier(Clock())
    tier.handle.fault = TimeoutError()

    (answer,) = await ask(tier, text("a"))

    assert isinstance(answer, DeadlineExceeded)
    assert len(tier.handle.calls) == 1
    assert (tier.calls.admission.held, tier.calls.counts.timed_out) == (0, 1)


async def test_fault_that_nobody_foresaw_fails_the_waiters(caplog: pytest.LogCaptureFixture) -> None:
    """They hear a fixed text; what it was is in the log."""
    tier = make_tier(Clock())
    tier.handle.fault = RuntimeError("secret detail")

    (answer,) = await ask(tier, text("a"))

    assert isinstance(answer, InternalError)
    assert "secret" not in answer.message
    assert "secret detail" in caplog.text
    assert tier.calls.admission.held == 0


class GarblingHandle(FakeTierHandle):
    """A tier whose replies are not what was asked for."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        self._changes = changes

    def reply(self, call: EncodeCall) -> EncodeReply:
        """A reply with some fields replaced."""
        return replace(super().reply(call), **self._changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"vectors": b""}, {"vectors": b"\0" * 7}, {"dimension": 3}, {"token_counts": ()}])
async def test_reply_that_is_garbled_fails_the_waiters(
    changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for ever for a row that is not there, and nothing stays held."""
    tier = make_tier(Clock())
    garbling = GarblingHandle(**changes)
    tier.calls._handle = garbling

    answers = await ask(tier, text("a"), text("b"))

    assert [type(answer) for answer in answers] == [InternalError, InternalError]
    assert tier.calls.admission.held == 0
    assert "a call to a tier failed" in caplog.text


@pytest.mark.parametrize("fault", [TierUnreachable(), TimeoutError(), RuntimeError()])
async def test_open_breaker_sheds_without_calling_the_tier(fault: Exception) -> None:
    """After failures in a row, submissions are refused at once."""
    tier = make_tier(Clock(), breaker=TOUCHY)
    tier.handle.fault = fault
    for _ in range(2):
        await ask(tier, text("a"))
    calls = len(tier.handle.calls)

    with pytest.raises(Unavailable):
        tier.calls.submit([text("b")], LATER)

    assert len(tier.handle.calls) == calls
    assert tier.calls.admission.held == 0


async def test_breaker_closes_when_a_probe_is_answered() -> None:
    """After its rest the first submission is the probe, the next ones wait for its outcome."""
    clock = Clock()
    tier = make_tier(clock, breaker=TOUCHY)
    tier.handle.faults.extend([TimeoutError(), TimeoutError()])
    for _ in range(2):
        await ask(tier, text("a"))
    clock.advance(5.0)

    probe = tier.calls.submit([text("probe")], LATER)
    with pytest.raises(Unavailable):
        tier.calls.submit([text("too early")], LATER)
    await collect(probe)

    assert tier.breaker.state(clock.now) is BreakerState.CLOSED
    assert isinstance((await ask(tier, text("b")))[0], Encoded)


async def test_probe_that_is_shed_lets_the_next_one_probe() -> None:
    """A tier that is busy is asked again by whoever comes next."""
    clock = Clock()
    tier = make_tier(clock, breaker=TOUCHY)
    tier.handle.faults.extend([TimeoutError(), TimeoutError(), TierShed()])
    for _ in range(2):
        await ask(tier, text("a"))
    clock.advance(5.0)

    (shed,) = await ask(tier, text("probe"))
    (answered,) = await ask(tier, text("next probe"))

    assert isinstance(shed, Overloaded)
    assert isinstance(answered, Encoded)


async def test_caller_that_gives_up_cancels_nobodys_work() -> None:
    """A cancelled future is passed over; its neighbour in the same call is answered."""
    tier = make_tier(Clock())
    tier.handle.hold()
    quitter, waiter = tier.calls.submit([text("a"), text("b")], LATER)
    await tier.handle.called()

    quitter.cancel()
    tier.handle.release()

    assert isinstance((await collect([waiter]))[0], Encoded)
    assert tier.calls.admission.held == 0


async def test_item_that_fails_after_its_caller_has_left_is_no_error() -> None:
    """Nobody is there to be told."""
    tier = make_tier(Clock())
    tier.handle.bad_items["a"] = "internal"
    tier.handle.hold()
    quitter, waiter = tier.calls.submit([text("a"), text("b")], LATER)
    await tier.handle.called()

    quitter.cancel()
    tier.handle.release()

    assert isinstance((await collect([waiter]))[0], Encoded)
    assert tier.calls.admission.held == 0


async def test_close_fails_what_is_in_flight_and_what_waits() -> None:
    """A service that stops leaves nobody waiting, and begins nothing new."""
    tier = make_tier(Clock(), items_per_call=1, calls_in_flight=1)
    tier.handle.hold()
    answers = tier.calls.submit([text("sent"), text("waiting"), text("last")], LATER)
    await tier.handle.called()

    await tier.calls.close()

    assert [type(answer) for answer in await collect(answers)] == [Unavailable] * 3
    assert len(tier.handle.calls) == 1
    assert tier.calls.admission.held == 0


async def test_impatient_callers_do_not_open_the_breaker() -> None:
    """A deadline too short for any tier is the caller's, and proves nothing about this one."""
    tier = make_tier(Clock(), breaker=TOUCHY)
    tier.handle.fault = TimeoutError()
    for _ in range(5):
        await collect(tier.calls.submit([text("a")], Deadline(1000.5)))
    tier.handle.fault = None

    (answer,) = await ask(tier, text("b"))

    assert isinstance(answer, Encoded)
