"""The watch over certificates: one count over all routers, and an alarm that reaches each."""

import asyncio

import pytest

from cache.errors import JournalUnavailable
from cache.memory_journal import MemoryJournal
from router.agreement_watch import DOCUMENT, KEPT_STATES, PER_READ, AgreementWatch, WatchState
from router.audit_log import LOG
from router.audit_record import AuditRecord
from tests.fakes import Clock
from tests.policies import RECORD, FlakyJournal

NAME = "c-watched"
AGREED = RECORD._replace(certificate=NAME, target=0.99)
WRONG = AGREED._replace(agrees=False)
# Enough errors in a row for the alarm: each doubles the evidence.
MANY = 20


class Router:
    """One router's watch, and what it was told."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.told: list[frozenset[str]] = []
        self.clock = Clock()
        self.watch = AgreementWatch(journal, self.told.append, clock=self.clock)

    def counted(self, certificate: str = NAME) -> tuple[int, int]:
        """Audits and disagreements of a certificate."""
        state = self.watch.state.certificates.get(certificate)
        return (0, 0) if state is None else (state.audits, state.disagreements)


async def write(journal: MemoryJournal, *records: AuditRecord) -> None:
    """Add to the audit log."""
    await journal.append(LOG, [record.to_bytes() for record in records], keep=1_000_000)


@pytest.fixture
def journal() -> FlakyJournal:
    """The one that all routers share."""
    return FlakyJournal()


async def test_audits_are_counted_by_certificate(journal: FlakyJournal) -> None:
    """Each by its own, and those of none by none."""
    router = Router(journal)
    await write(journal, AGREED, WRONG, AGREED._replace(certificate="c-other"), RECORD)

    await router.watch.step()

    assert (router.counted(), router.counted("c-other")) == ((2, 1), (1, 0))
    assert router.told == []


@pytest.mark.parametrize(
    "record",
    [
        WRONG._replace(margin=None, agrees=None, lost="shed"),
        WRONG._replace(degraded="budget"),
        WRONG._replace(certificate=None, target=None),
    ],
)
async def test_what_is_outside_the_guarantee_is_not_counted(journal: FlakyJournal, record: AuditRecord) -> None:
    """Lost, degraded, or decided without a certificate."""
    router = Router(journal)
    await write(journal, record)

    await router.watch.step()

    assert dict(router.watch.state.certificates) == {}


async def test_second_look_is_an_audit_without_error(journal: FlakyJournal) -> None:
    """The caller was served the accurate tier's decision."""
    router = Router(journal)
    await write(journal, WRONG._replace(served="accurate", escalated=True))

    await router.watch.step()

    assert router.counted() == (1, 0)


async def test_two_routers_count_each_record_once(journal: FlakyJournal) -> None:
    """Whoever comes first has counted it; both see the same."""
    one, other = Router(journal), Router(journal)

    for _ in range(5):
        await write(journal, AGREED, WRONG)
        await one.watch.step()
        await other.watch.step()

    assert one.counted() == other.counted() == (10, 5)


async def test_routers_that_step_at_the_same_moment_count_each_record_once(journal: FlakyJournal) -> None:
    """Both read, one writes: the other's count is thrown away."""
    routers = [Router(journal) for _ in range(4)]

    for _ in range(10):
        await write(journal, AGREED, WRONG)
        await asyncio.gather(*(router.watch.step() for router in routers))
    for router in routers:
        await router.watch.step()

    assert {router.counted() for router in routers} == {(20, 10)}


async def test_alarm_reaches_every_router(journal: FlakyJournal) -> None:
    """Those too that have not counted themselves; each is told once."""
    one, other = Router(journal), Router(journal)
    await write(journal, *[WRONG] * MANY)

    for _ in range(3):
        await one.watch.step()
        await other.watch.step()

    assert one.told == other.told == [frozenset({NAME})]
    assert one.watch.state.alarms == {NAME}


async def test_alarm_of_a_second_certificate_adds_to_the_first(journal: FlakyJournal) -> None:
    """Routers are told all of them each time."""
    router = Router(journal)
    await write(journal, *[WRONG] * MANY)
    await router.watch.step()
    await write(journal, *[WRONG._replace(certificate="c-other")] * MANY)
    await router.watch.step()

    assert router.told == [{NAME}, {NAME, "c-other"}]


async def test_agreement_raises_no_alarm(journal: FlakyJournal) -> None:
    """Three errors in a thousand are within a target of 99 %."""
    router = Router(journal)
    await write(journal, *([AGREED] * 333 + [WRONG]) * 3)

    await router.watch.step()

    assert router.counted() == (1002, 3)
    assert router.told == []


async def test_alarm_survives_a_restart(journal: FlakyJournal) -> None:
    """A router that comes up later is told by its first step, and counts nothing twice."""
    await write(journal, *[WRONG] * MANY)
    await Router(journal).watch.step()

    later = Router(journal)
    await later.watch.step()

    assert later.told == [{NAME}]
    assert later.counted() == (MANY, MANY)


async def test_alarm_outlives_the_loss_of_the_shared_state(journal: FlakyJournal) -> None:
    """What this process has seen it does not take back, and is not told again."""
    router = Router(journal)
    await write(journal, *[WRONG] * MANY)
    await router.watch.step()
    assert await journal.replace(
        DOCUMENT, WatchState().model_dump_json().encode(), expected=await journal.get(DOCUMENT)
    )

    await router.watch.step()

    assert router.told == [{NAME}]


async def test_long_log_is_followed_in_steps(journal: FlakyJournal) -> None:
    """One read is bounded; the next goes on where it ended."""
    router = Router(journal)
    await write(journal, *[AGREED] * (PER_READ + 5))

    await router.watch.step()
    first = router.counted()
    await router.watch.step()

    assert (first, router.counted()) == ((PER_READ, 0), (PER_READ + 5, 0))


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\xc1", b"\x80"])
async def test_record_that_can_not_be_read_is_passed_over(
    journal: FlakyJournal, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and those after it count."""
    router = Router(journal)
    await write(journal, AGREED)
    await journal.append(LOG, [garbage], keep=1000)
    await write(journal, AGREED)

    await router.watch.step()
    await router.watch.step()

    assert router.counted() == (2, 0)
    assert [record.getMessage() for record in caplog.records] == ["agreement watch: a record can't be read"]


@pytest.mark.parametrize(
    "document", [b"", b"garbage", b"[]", b'{"cursor": 5}', b'{"unknown": 1}', b'{"cursor": "not a position"}']
)
async def test_state_that_can_not_be_read_begins_anew(
    journal: FlakyJournal, document: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """From the oldest record that there is, and then it is one that can be read."""
    assert await journal.replace(DOCUMENT, document, expected=None)
    await write(journal, AGREED, WRONG)
    one, other = Router(journal), Router(journal)

    await one.watch.step()
    await other.watch.step()

    assert one.counted() == other.counted() == (2, 1)
    assert "begins anew" in caplog.text


async def test_journal_that_is_away_leaves_what_was_known(journal: FlakyJournal) -> None:
    """The alarm stays, and the count goes on when the journal is back."""
    router = Router(journal)
    await write(journal, *[WRONG] * MANY)
    await router.watch.step()
    journal.is_away = True
    router.clock.advance(5)
    with pytest.raises(JournalUnavailable):
        await router.watch.step()
    assert router.watch.state.alarms == {NAME}
    assert router.watch.seen_at == router.clock.now - 5

    journal.is_away = False
    await write(journal, AGREED)
    await router.watch.step()

    assert router.counted() == (MANY + 1, MANY)
    assert router.watch.seen_at == router.clock.now


async def test_states_of_certificates_that_nobody_uses_are_forgotten(journal: FlakyJournal) -> None:
    """Those last used the longest ago; the document stays of bounded size."""
    router = Router(journal)
    names = [f"c-{number}" for number in range(KEPT_STATES + 1)]
    await write(journal, *[AGREED._replace(certificate=name) for name in (*names[:-1], names[0], names[-1])])

    await router.watch.step()

    assert set(router.watch.state.certificates) == {*names} - {names[1]}


async def test_alarm_is_not_forgotten_for_being_old(journal: FlakyJournal) -> None:
    """A certificate that was given up is used no more, and must not count as trusted again for that."""
    await write(journal, *[WRONG] * MANY)
    await Router(journal).watch.step()
    await write(journal, *[AGREED._replace(certificate=f"c-{number}") for number in range(KEPT_STATES)])
    await Router(journal).watch.step()

    later = Router(journal)
    await later.watch.step()

    assert later.told == [{NAME}]
