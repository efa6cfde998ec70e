"""The cascade under a target: second looks as the certificate says, and always where none holds."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from router.items import Item
from router.outcome import Decision, Outcome
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from tests.fakes import ACCURATE_MODEL, FakeRouter, SlowStore, make_cache, question, text
from tests.policies import make_certificate

TEXTS = (text("cat"), text("dog"))
CERTIFICATE = make_certificate(1.0)
CERTIFIED = Policy(target_agreement=0.99, certificates=(CERTIFICATE,))
UNCERTIFIED = Policy(target_agreement=0.99)


@dataclass(slots=True)
class Bench:
    """A router over a shared store, and an image of which its fast tier is as sure as can be."""

    router: FakeRouter
    sure: Item

    async def ask(self, policy: Policy, *images: Item, alarms: tuple[str, ...] = ()) -> Outcome:
        """Put one question."""
        asked = question(images or (self.sure,), TEXTS)
        return await self.router.cascade.answer(asked, PolicyInForce(policy, alarms), self.router.deadline())

    async def tier(self, policy: Policy, alarms: tuple[str, ...] = ()) -> tuple[str, bool]:
        """Who answers about the image, and whether by a second look."""
        (decision,) = (await self.ask(policy, alarms=alarms)).decisions
        assert isinstance(decision, Decision)
        return decision.tier, decision.escalated


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An open cache with nothing in it."""
    router = FakeRouter(make_cache(shared=SlowStore()))
    yield Bench(router, router.place(b"sure", fast=(1.0, 0.0), accurate=(0.9, 0.1)))
    await router.cache.close()


async def test_certificate_that_holds_lets_the_fast_tier_answer(bench: Bench) -> None:
    """At a margin over its threshold."""
    assert await bench.tier(CERTIFIED) == ("fast", False)
    assert bench.router.accurate.handle.calls == []


async def test_margin_under_the_certificates_threshold_escalates(bench: Bench) -> None:
    """As under a threshold that the policy names itself."""
    unsure = bench.router.place(b"unsure", fast=(0.5, 0.45), accurate=(0.2, 0.6))

    sure, other = (await bench.ask(CERTIFIED, bench.sure, unsure)).decisions

    assert [one.tier for one in (sure, other) if isinstance(one, Decision)] == ["fast", "accurate"]


async def test_target_without_a_certificate_always_takes_a_second_look(bench: Bench) -> None:
    """However sure the fast tier is."""
    assert await bench.tier(UNCERTIFIED) == ("accurate", True)


@pytest.mark.parametrize("is_alarmed", [False, True])
async def test_answer_at_hand_is_no_excuse_for_a_first_look(
    bench: Bench,
    is_alarmed: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Everything that the fast tier needs is in this process, and still the accurate one decides."""
    assert await bench.tier(CERTIFIED) == ("fast", False)
    assert await bench.tier(CERTIFIED) == ("fast", False)
    assert len(bench.router.fast.handle.calls) == 1

    if is_alarmed:
        found = await bench.tier(CERTIFIED, alarms=(CERTIFICATE.id,))
    else:
        found = await bench.tier(UNCERTIFIED)

    assert found == ("accurate", True)
    assert len(bench.router.accurate.handle.calls) == 1


async def test_rolled_accurate_tier_voids_the_certificate_also_at_hand(bench: Bench) -> None:
    """The next question after the roll takes a second look, from whatever memory it could be answered."""
    assert await bench.tier(CERTIFIED) == ("fast", False)
    rolled = replace(ACCURATE_MODEL, revision="a2")
    bench.router.accurate.handle.description = rolled

    bench.router.accurate.embedder.use(rolled)

    assert await bench.tier(CERTIFIED) == ("accurate", True)


async def test_alarm_makes_an_answer_at_hand_escalate_and_then_it_is_free(bench: Bench) -> None:
    """The second look is paid for once."""
    await bench.tier(CERTIFIED)
    alarms = (CERTIFICATE.id,)

    assert await bench.tier(CERTIFIED, alarms) == ("accurate", True)
    assert await bench.tier(CERTIFIED, alarms) == ("accurate", False)
    assert len(bench.router.accurate.handle.calls) == 1


async def test_budget_bounds_the_second_looks_of_a_target_too(bench: Bench) -> None:
    """What it refuses is marked: the target does not speak of it."""
    outcome = await bench.ask(Policy(target_agreement=0.99, escalation_budget=0.0))

    (decision,) = outcome.decisions
    assert isinstance(decision, Decision)
    assert (decision.tier, decision.degraded) == ("fast", "budget")


async def test_rate_of_second_looks_is_kept_and_told(bench: Bench) -> None:
    """Two a second: of three images at once, one is marked."""
    images = [bench.router.place(b"pic %d" % i, fast=(0.5, 0.45), accurate=(0.3, 0.6)) for i in range(3)]
    policy = Policy(threshold=1.0, escalations_per_s=2.0)

    first = (await bench.ask(policy, *images)).decisions
    bench.router.clock.advance(1.0)
    later = bench.router.place(b"later", fast=(0.5, 0.45), accurate=(0.3, 0.6))
    second = (await bench.ask(policy, later)).decisions

    assert [one.degraded for one in (*first, *second) if isinstance(one, Decision)] == [None, None, "budget", None]


async def test_degraded_mode_of_the_route_is_the_one_that_counts(bench: Bench) -> None:
    """Over the policy's."""
    document = {"target_agreement": 0.99, "escalation_budget": 0, "routes": {"similarity": {"degraded": "fail"}}}

    outcome = await bench.ask(Policy.model_validate(document))

    assert not isinstance(outcome.decisions[0], Decision)
