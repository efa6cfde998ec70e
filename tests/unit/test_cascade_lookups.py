"""What the cascade asks the cache for, and a tier that is rolled to another model meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from router.items import Item
from router.outcome import Decision
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.schemas import TierChoice
from tests.fakes import ACCURATE_MODEL, FAST_MODEL, FakeRouter, SlowStore, make_cache, question, text

TEXTS = (text("cat"), text("dog"))
UNLIKE_ANY = Policy(threshold=100.0)
NEVER = Policy(threshold=0.0)


@dataclass(slots=True)
class Bench:
    """A router over a shared store, and an image that it knows."""

    store: SlowStore
    router: FakeRouter
    image: Item

    async def ask(self, policy: Policy = NEVER, tier: TierChoice = "auto") -> Decision:
        """Put one question that is answered."""
        asked = question((self.image,), TEXTS, tier=tier)
        (decision,) = (await self.router.cascade.answer(asked, PolicyInForce(policy), self.router.deadline())).decisions
        assert isinstance(decision, Decision)
        return decision

    async def forget_first_level(self) -> None:
        """Leave what is known to the shared store."""
        await self.router.cache.flush()
        await self.router.cache._local.close()

    @property
    def asked(self) -> int:
        """Keys that the shared store was asked for."""
        counts = self.store.counts()
        return counts.hits + counts.misses


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """An open cache with nothing in it."""
    store = SlowStore()
    router = FakeRouter(make_cache(shared=store))
    yield Bench(store, router, router.place(b"pic", fast=(0.6, 0.4), accurate=(0.3, 0.6)))
    await router.cache.close()


async def test_first_question_asks_the_shared_store_for_both_tiers(bench: Bench) -> None:
    """An image and two texts, on each of two tiers, in one lookup."""
    await bench.ask()

    assert bench.asked == 6


async def test_image_known_to_have_no_accurate_embedding_is_not_asked_for_again(bench: Bench) -> None:
    """The fast answer is at hand in the first level: nothing leaves the process."""
    await bench.ask()
    asked = bench.asked

    decision = await bench.ask()

    assert bench.asked == asked
    assert (decision.tier, decision.image_hit, decision.text_hits) == ("fast", True, 2)


async def test_image_without_accurate_embedding_still_gets_its_second_look(bench: Bench) -> None:
    """What was skipped before is looked up then."""
    await bench.ask()

    decision = await bench.ask(UNLIKE_ANY)

    assert (decision.tier, decision.escalated) == ("accurate", True)


async def test_accurate_embedding_is_found_once_it_is_there(bench: Bench) -> None:
    """That it was absent is forgotten when it is put."""
    await bench.ask()
    await bench.ask(tier="accurate")

    assert (await bench.ask()).tier == "accurate"


async def test_accurate_answer_in_the_first_level_needs_no_other_lookup(bench: Bench) -> None:
    """The fast tier's space is not even asked for."""
    await bench.ask(tier="accurate")
    asked = bench.asked

    decision = await bench.ask()

    assert (decision.tier, decision.image_hit) == ("accurate", True)
    assert bench.asked == asked


async def test_answer_comes_from_the_shared_store_after_a_restart(bench: Bench) -> None:
    """Another router has embedded it: no tier is called."""
    await bench.ask(tier="accurate")
    await bench.forget_first_level()
    calls = len(bench.router.accurate.handle.calls)

    decision = await bench.ask()

    assert (decision.tier, decision.image_hit, decision.text_hits) == ("accurate", True, 2)
    assert len(bench.router.accurate.handle.calls) == calls


async def test_model_that_changes_during_the_lookup_judges_nothing_of_the_old_one(bench: Bench) -> None:
    """Rows of the old model are read with the old model's scale."""
    before = await bench.ask()
    await bench.forget_first_level()
    steep = replace(FAST_MODEL, revision="f2", logit_scale=1000.0)
    bench.store.meanwhile = lambda: bench.router.fast.embedder.use(steep)

    after = await bench.ask()

    assert after.image_hit
    assert after.verdict.margin == pytest.approx(before.verdict.margin, abs=0.01)


async def test_model_that_is_forgotten_during_the_lookup_leaves_its_answer(bench: Bench) -> None:
    """An accurate answer that was found needs no tier any more."""
    await bench.ask(tier="accurate")
    await bench.forget_first_level()

    def forget() -> None:
        bench.router.accurate.embedder._space = None

    bench.store.meanwhile = forget

    assert (await bench.ask()).tier == "accurate"


async def test_vectors_of_two_models_are_never_compared(bench: Bench) -> None:
    """A tier rolled between lookup and encode: its part of the answer fails, the fast tier's stands."""
    await bench.ask(tier="accurate")
    bench.image = bench.router.place(b"other", fast=(0.5, 0.45), accurate=(0.3, 0.6))
    rolled = replace(ACCURATE_MODEL, revision="a2")
    bench.router.accurate.handle.description = rolled
    bench.store.meanwhile = lambda: bench.router.accurate.embedder.use(rolled)

    decision = await bench.ask(UNLIKE_ANY)

    assert (decision.tier, decision.degraded) == ("fast", "accurate_open")


async def test_each_embedding_of_an_answer_is_counted_once(bench: Bench) -> None:
    """Also where memory had some of them and the whole question had to be asked properly."""
    cache = bench.router.cache
    await bench.ask()
    assert (cache.counts().l1_hits, cache.counts().misses) == (0, 6)

    await bench.ask()
    assert cache.counts().l1_hits == 3


async def test_answer_names_the_model_that_decided_it(bench: Bench) -> None:
    """Also when the tier is rolled to another before the answer is written."""
    await bench.ask()
    await bench.forget_first_level()
    later = replace(FAST_MODEL, revision="f2")
    bench.store.meanwhile = lambda: bench.router.fast.embedder.use(later)

    outcome = await bench.router.cascade.answer(
        question((bench.image,), TEXTS), PolicyInForce(NEVER), bench.router.deadline()
    )

    assert outcome.models["fast"] == FAST_MODEL.identity
