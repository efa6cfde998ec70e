"""Identical misses in flight: one computes, the others wait, nobody hangs."""

import asyncio

import pytest

from cache.errors import LeaderGone
from cache.single_flight import SingleFlight


async def test_first_claim_leads_and_later_ones_join() -> None:
    """Of two claims of a key only the first must compute it, and both get the answer."""
    flight: SingleFlight[int] = SingleFlight()
    first, second = flight.claim([b"a", b"b"]), flight.claim([b"b", b"c"])

    for number, key in enumerate([b"a", b"b", b"c"]):
        flight.resolve(key, number)

    assert (first.led, second.led) == ([b"a", b"b"], [b"c"])
    assert [await future for future in first.futures.values()] == [0, 1]
    assert [await future for future in second.futures.values()] == [1, 2]
    assert (flight.joins, flight.in_flight) == (1, 0)


async def test_repeated_key_in_one_claim_counts_once() -> None:
    """A caller does not wait for itself."""
    flight: SingleFlight[int] = SingleFlight()

    claim = flight.claim([b"a", b"a"])

    assert claim.led == [b"a"]
    assert (list(claim.futures), flight.joins) == ([b"a"], 0)


async def test_answered_key_is_led_anew() -> None:
    """An answer is not remembered: that is the cache's part."""
    flight: SingleFlight[int] = SingleFlight()
    flight.claim([b"a"])
    flight.resolve(b"a", 1)

    assert flight.claim([b"a"]).led == [b"a"]


async def test_waiter_that_gives_up_leaves_the_others_waiting() -> None:
    """A cancelled waiter takes neither the leader nor another waiter with it."""
    flight: SingleFlight[int] = SingleFlight()
    leader, quitter, waiter = (flight.claim([b"a"]).futures[b"a"] for _ in range(3))
    task = asyncio.ensure_future(asyncio.wait_for(quitter, timeout=0))
    await asyncio.wait([task])

    flight.resolve(b"a", 7)

    assert isinstance(task.exception(), TimeoutError)
    assert (await leader, await waiter) == (7, 7)


async def test_failure_reaches_every_waiter() -> None:
    """A failed computation fails all who wait for it, each with the same error."""
    flight: SingleFlight[int] = SingleFlight()
    futures = [flight.claim([b"a"]).futures[b"a"] for _ in range(3)]

    flight.fail(b"a", ValueError("bad image"))

    assert [str(future.exception()) for future in futures] == ["bad image"] * 3
    assert flight.in_flight == 0


async def test_leader_that_raises_fails_its_waiters_at_once() -> None:
    """Whatever ends the leader's block, nobody waits for it any longer."""
    flight: SingleFlight[int] = SingleFlight()

    async def lead() -> None:
        with flight.claim([b"a", b"b"]):
            flight.resolve(b"a", 1)
            raise RuntimeError("the leader's own trouble")

    leader = asyncio.ensure_future(lead())
    await asyncio.sleep(0)
    joined = flight.claim([b"b"])
    await asyncio.wait([leader])

    assert isinstance(leader.exception(), RuntimeError)
    assert joined.led == [b"b"]


async def test_cancelled_leader_fails_its_waiters_at_once() -> None:
    """A leader whose client went away tells its waiters, who may claim the key again."""
    flight: SingleFlight[int] = SingleFlight()

    async def lead() -> None:
        with flight.claim([b"a"]) as claim:
            await claim.futures[b"a"]

    leader = asyncio.ensure_future(lead())
    await asyncio.sleep(0)
    waiter = flight.claim([b"a"])
    leader.cancel()

    with pytest.raises(LeaderGone):
        await waiter.futures[b"a"]
    assert waiter.led == []
    assert flight.claim([b"a"]).led == [b"a"]


async def test_leader_that_ends_does_not_fail_its_successor() -> None:
    """A key which was resolved and claimed again belongs to the new leader."""
    flight: SingleFlight[int] = SingleFlight()
    with flight.claim([b"a"]):
        flight.resolve(b"a", 1)
        successor = flight.claim([b"a"])

    flight.resolve(b"a", 2)

    assert await successor.futures[b"a"] == 2


async def test_joined_claim_that_ends_does_not_fail_the_leader() -> None:
    """Only led keys are failed on exit."""
    flight: SingleFlight[int] = SingleFlight()
    leader = flight.claim([b"a"])
    with flight.claim([b"a"]):
        pass

    flight.resolve(b"a", 3)

    assert await leader.futures[b"a"] == 3


async def test_unknown_key_is_resolved_and_failed_in_vain() -> None:
    """A late answer for a key that nobody waits for any more is no error."""
    flight: SingleFlight[int] = SingleFlight()

    flight.resolve(b"a", 1)
    flight.fail(b"a", ValueError("late"))

    assert flight.in_flight == 0


async def test_claim_that_is_given_up_names_what_nobody_waits_for() -> None:
    """A key with another waiter goes on; the others are led anew by whoever comes next."""
    flight: SingleFlight[int] = SingleFlight()
    first, second = flight.claim([b"a", b"b"]), flight.claim([b"b"])

    abandoned = flight.leave(first)

    assert abandoned == [b"a"]
    assert flight.claim([b"a", b"b"]).led == [b"a"]
    assert not second.futures[b"b"].done()


async def test_key_of_a_later_flight_is_not_given_up_with_an_old_claim() -> None:
    """The same key, computed anew for somebody else, is no business of a claim that was answered."""
    flight: SingleFlight[int] = SingleFlight()
    old = flight.claim([b"a"])
    flight.resolve(b"a", 1)
    flight.claim([b"a"])

    assert flight.leave(old) == []
    assert flight.in_flight == 1
