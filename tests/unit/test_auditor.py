"""The audit of one router: the other tier's answer to what was drawn, and a reason where there is none."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from router.audit_record import AuditRecord, Loss
from router.auditor import AT_ONCE, MAX_WAITING, MAX_WAITING_BYTES
from router.items import Item
from router.outcome import Decision, Outcome
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.tier_calls import TierShed, TierUnreachable
from tests.fakes import (
    ACCURATE_MODEL,
    PATIENCE_S,
    FakeRouter,
    FakeTierHandle,
    by_key,
    image,
    question,
    text,
)
from tests.policies import ACCURATE_NAME, FAST_NAME, make_certificate

TEXTS = (text("cat"), text("dog"))
ALL = Policy(threshold=1.0, audit_share=1.0)
SURE = {"fast": (0.6, 0.4), "accurate": (0.7, 0.2)}
UNSURE = {"fast": (0.5, 0.45), "accurate": (0.3, 0.6)}


class Records:
    """A log in memory that can be waited for."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self._came = asyncio.Event()

    def add(self, record: AuditRecord) -> None:
        """Take one."""
        self.records.append(record)
        self._came.set()

    async def first(self, count: int = 1) -> list[AuditRecord]:
        """Wait for so many, and return all."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.records) < count:
                self._came.clear()
                await self._came.wait()
        return self.records

    async def only(self) -> AuditRecord:
        """Wait for one, which must be the only one."""
        (record,) = await self.first()
        return record


class Bench:
    """A router whose every question is audited."""

    def __init__(self) -> None:
        self.router = FakeRouter()
        self.log = Records()
        self.auditor = self.router.audit(self.log)
        self.fast, self.accurate = self.router.fast.handle, self.router.accurate.handle

    async def ask(
        self, *images: Item, texts: tuple[Item, ...] = TEXTS, policy: Policy = ALL, threshold: float | None = None
    ) -> Outcome:
        """Put one question that the cascade decides."""
        in_force = PolicyInForce(policy)
        return await self.router.cascade.answer(question(images, texts, threshold), in_force, self.router.deadline())

    def sure(self, content: bytes = b"sure") -> Item:
        """An image that both tiers call a cat."""
        return self.router.place(content, **SURE)

    def unsure(self, content: bytes = b"unsure") -> Item:
        """An image that the fast tier can't tell, and the accurate one calls a dog."""
        return self.router.place(content, **UNSURE)

    async def fill(self) -> None:
        """Draw as many as are audited at once, and wait until all of them stand still at the other tier."""
        self.accurate.hold()
        for number in range(AT_ONCE):
            await self.ask(self.sure(b"filling %d" % number))
        for _ in range(100):  # turns of the loop, in which they begin
            await asyncio.sleep(0)
        await self.accurate.called()
        assert not self.auditor._waiting


@pytest.fixture
def bench() -> Bench:
    """Nothing has been asked yet."""
    return Bench()


async def test_fast_answer_is_compared_with_the_accurate_tiers(bench: Bench) -> None:
    """Asked behind the answer, at warm-up's priority: live traffic goes first."""
    await bench.ask(bench.sure())

    record = await bench.log.only()
    assert (record.served, record.escalated, record.agrees, record.lost) == ("fast", False, True, None)
    assert record.margin == pytest.approx(2.0, abs=1e-5)
    assert [(call.images, call.traffic) for call in bench.accurate.calls] == [((b"sure",), "warm_up")]
    assert [call.traffic for call in bench.fast.calls] == ["live"]


async def test_fast_answer_that_the_accurate_tier_would_not_give_is_an_error(bench: Bench) -> None:
    """Served wrong: what the guarantee bounds."""
    wrong = bench.router.place(b"wrong", fast=(0.6, 0.4), accurate=(0.2, 0.7))

    await bench.ask(wrong)

    record = await bench.log.only()
    assert (record.served, record.agrees, record.is_error, record.counts) == ("fast", False, True, True)


async def test_second_look_is_recorded_at_once_without_any_call(bench: Bench) -> None:
    """Both tiers have answered already."""
    await bench.ask(bench.unsure())
    calls = len(bench.fast.calls), len(bench.accurate.calls)

    (record,) = bench.log.records
    assert (record.served, record.escalated, record.agrees, record.is_error) == ("accurate", True, False, False)
    assert record.margin == pytest.approx(0.5, abs=1e-5)
    await bench.auditor.close()
    assert calls == (len(bench.fast.calls), len(bench.accurate.calls)) == (1, 1)


async def test_free_accurate_answer_is_compared_with_the_fast_tiers(bench: Bench) -> None:
    """Without the fast tier's margin the record would say nothing of the threshold."""
    sure = bench.sure()
    pinned = question((sure,), TEXTS, tier="accurate")
    await bench.router.cascade.answer(pinned, PolicyInForce(ALL), bench.router.deadline())
    assert bench.log.records == []

    await bench.ask(sure)

    record = await bench.log.only()
    assert (record.served, record.escalated, record.agrees) == ("accurate", False, True)
    assert record.margin == pytest.approx(2.0, abs=1e-5)
    assert [call.traffic for call in bench.fast.calls] == ["warm_up"]


async def test_fast_answer_from_memory_is_audited_too(bench: Bench) -> None:
    """Each time that it is drawn: the caller was served once more."""
    sure = bench.sure()
    await bench.ask(sure, policy=Policy(threshold=1.0, audit_share=0.0))
    calls = len(bench.fast.calls)

    await bench.ask(sure)

    assert (await bench.log.only()).agrees is True
    assert len(bench.fast.calls) == calls


async def test_degraded_answer_is_marked(bench: Bench) -> None:
    """Counted apart from what the guarantee speaks of, and with its reason."""
    bench.accurate.faults.append(TierShed())

    await bench.ask(bench.unsure())

    record = await bench.log.only()
    assert (record.served, record.degraded, record.counts) == ("fast", "accurate_shed", False)
    assert (record.agrees, record.lost) == (False, None)


async def test_record_says_under_what_it_was_decided(bench: Bench) -> None:
    """Policy, models, bar, chance and time: what a later reader has to know."""
    certificate = make_certificate(2.0)
    policy = Policy(target_agreement=0.99, audit_share=1.0, certificates=(certificate,))

    await bench.ask(bench.sure(), policy=policy)

    record = await bench.log.only()
    assert (record.policy, record.certificate, record.target) == (policy.version, certificate.id, 0.99)
    assert (record.threshold, record.share, record.group) == (2.0, 1.0, "similarity/2")
    assert (record.fast_model, record.accurate_model) == (FAST_NAME, ACCURATE_NAME)
    assert record.at == bench.router.clock.now


async def test_every_image_of_a_question_is_an_item_of_its_own(bench: Bench) -> None:
    """Sure and unsure ones, and those that failed are none."""
    bench.fast.bad_items[b"broken"] = "bad_image"

    await bench.ask(bench.sure(), image(b"broken"), bench.unsure(), bench.sure(b"other"))

    records = await bench.log.first(3)
    await bench.auditor.close()
    assert sorted(record.served for record in records) == ["accurate", "fast", "fast"]
    assert {record.lost for record in records} == {None}


async def test_match_is_compared_by_its_threshold(bench: Bench) -> None:
    """Of the group of such questions."""
    pic = bench.router.place(b"pic", fast=(0.9, 0.1), accurate=(0.8, 0.35))

    await bench.ask(pic, threshold=0.3)

    record = await bench.log.only()
    assert (record.group, record.agrees) == ("similarity:threshold/2", False)


@pytest.mark.parametrize("tier", ["fast", "accurate"])
async def test_pinned_questions_are_not_audited(bench: Bench, tier: str) -> None:
    """No policy decided them."""
    pinned = question((bench.sure(),), TEXTS)._replace(tier=tier)  # type: ignore[arg-type] # one of its names
    await bench.router.cascade.answer(pinned, PolicyInForce(ALL), bench.router.deadline())
    await bench.auditor.close()

    assert bench.log.records == []


async def test_share_of_zero_audits_nothing(bench: Bench) -> None:
    """And asks nobody."""
    await bench.ask(bench.sure(), policy=Policy(threshold=1.0, audit_share=0.0))
    await bench.auditor.close()

    assert (bench.log.records, bench.accurate.calls) == ([], [])


def shed(handle: FakeTierHandle) -> None:
    """Too much to do."""
    handle.fault = TierShed()


def away(handle: FakeTierHandle) -> None:
    """Not to be reached."""
    handle.fault = TierUnreachable()


def slow(handle: FakeTierHandle) -> None:
    """Not in time."""
    handle.fault = TimeoutError()


def unreadable(handle: FakeTierHandle) -> None:
    """An image that this tier alone can't read."""
    handle.bad_items[b"sure"] = "bad_image"


def wordless(handle: FakeTierHandle) -> None:
    """A text that this tier alone can't read."""
    handle.bad_items["dog"] = "too_large"


@pytest.mark.parametrize(
    ("happens", "loss"),
    [(shed, "shed"), (away, "unavailable"), (slow, "timeout"), (unreadable, "failed"), (wordless, "failed")],
)
async def test_audit_that_gets_no_answer_is_recorded_as_lost(
    bench: Bench, happens: Callable[[FakeTierHandle], None], loss: Loss
) -> None:
    """With its reason, and without agreeing either way."""
    happens(bench.accurate)

    await bench.ask(bench.sure())

    record = await bench.log.only()
    assert (record.lost, record.agrees, record.margin, record.counts) == (loss, None, None, False)


async def test_key_without_bytes_is_lost_as_unknown(bench: Bench) -> None:
    """What the other tier has not seen it can't be asked about."""
    sure = bench.sure()
    await bench.ask(sure, policy=Policy(threshold=1.0, audit_share=0.0))

    await bench.ask(by_key(sure))

    assert (await bench.log.only()).lost == "unknown_key"


async def test_model_that_has_changed_meanwhile_is_not_asked(bench: Bench) -> None:
    """A record of two models that never served together would count for a certificate of neither."""
    await bench.fill()
    await bench.ask(bench.sure())

    bench.router.accurate.embedder.use(replace(ACCURATE_MODEL, revision="a2"))
    bench.accurate.release()

    records = await bench.log.first(AT_ONCE + 1)
    assert Counter(record.lost for record in records) == {"unavailable": AT_ONCE, "model_changed": 1}
    assert {record.accurate_model for record in records} == {ACCURATE_NAME}


async def test_what_finds_the_queue_full_is_lost_as_busy(bench: Bench) -> None:
    """Bounded in number: drawn, and not forgotten."""
    await bench.fill()
    for number in range(MAX_WAITING):
        await bench.ask(bench.sure(b"pic %d" % number))
    assert bench.log.records == []

    await bench.ask(bench.sure(b"one too many"))

    assert [record.lost for record in bench.log.records] == ["busy"]
    bench.accurate.release()
    records = await bench.log.first(AT_ONCE + MAX_WAITING + 1)
    assert {record.lost for record in records[1:]} == {None}


async def test_what_waits_is_bounded_in_bytes(bench: Bench) -> None:
    """Images are large; texts count too."""
    await bench.fill()
    large = MAX_WAITING_BYTES // 2

    for number in range(3):
        await bench.ask(bench.sure(b"%d" % number * large))

    assert [record.lost for record in bench.log.records] == ["busy", "busy"]
    await bench.auditor.close()


async def test_room_in_bytes_comes_back(bench: Bench) -> None:
    """However long it goes on, what has been audited waits no more."""
    for number in range(5):
        await bench.ask(bench.sure(b"%d" % number * (MAX_WAITING_BYTES // 2)))
        await bench.log.first(number + 1)

    assert {record.lost for record in bench.log.records} == {None}
    assert bench.auditor._waiting_bytes == 0


async def test_audit_never_holds_up_an_answer(bench: Bench) -> None:
    """The other tier stands still, and questions are answered."""
    bench.accurate.hold()
    async with asyncio.timeout(PATIENCE_S):
        outcomes = [await bench.ask(bench.sure(b"pic %d" % number)) for number in range(20)]

    assert all(isinstance(decision, Decision) for outcome in outcomes for decision in outcome.decisions)
    assert bench.log.records == []
    await bench.auditor.close()


async def test_few_audits_are_under_way_at_once(bench: Bench) -> None:
    """Whatever waits, the other tier is asked this many things at a time."""
    await bench.fill()
    for number in range(2 * AT_ONCE):
        await bench.ask(bench.sure(b"pic %d" % number))

    assert not any(picture.startswith(b"pic") for call in bench.accurate.calls for picture in call.images)
    bench.accurate.release()
    await bench.log.first(3 * AT_ONCE)


async def test_close_records_everything_that_was_drawn(bench: Bench) -> None:
    """What waits and what is under way: drawn without an outcome is lost, not forgotten."""
    await bench.fill()
    for number in range(3):
        await bench.ask(bench.sure(b"pic %d" % number))

    await bench.auditor.close()

    assert [record.lost for record in bench.log.records] == ["busy"] * (AT_ONCE + 3)


async def test_fault_in_one_audit_does_not_end_the_others(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and recorded; the next one is audited."""
    bench.accurate.faults.append(RuntimeError("a bug"))

    await bench.ask(bench.sure(b"first"))
    await bench.log.first(1)
    await bench.ask(bench.sure(b"second"))

    records = await bench.log.first(2)
    assert records[0].lost is not None
    assert records[1].lost is None


async def test_record_holds_no_content(bench: Bench) -> None:
    """Neither image nor text, nor a hash by which one could be looked for."""
    picture, caption = bench.sure(b"a very private picture"), text("a very private caption")

    await bench.ask(picture, texts=(*TEXTS, caption))

    data = (await bench.log.only()).to_bytes()
    hashes = [item.digest for item in (picture, caption)] + [item.key.encode() for item in (picture, caption)]
    assert not any(secret in data for secret in (b"private", *hashes))


async def test_second_looks_are_left_out_as_often_as_other_audits_are_lost(bench: Bench) -> None:
    """Else what is left would show too few errors while the other tier is busy: a second look is none."""
    bench.accurate.fault = TierShed()
    for number in range(150):
        await bench.ask(bench.sure(b"lost %d" % number))
        await bench.log.first(number + 1)
    bench.accurate.fault = None
    bench.router.clock.now += 600  # until its breaker has closed

    for number in range(200):
        await bench.ask(bench.unsure(b"looked at twice %d" % number))

    losses = Counter(record.lost for record in (await bench.log.first(350))[150:])
    assert set(losses) <= {None, "balance"}
    assert losses["balance"] > 160
