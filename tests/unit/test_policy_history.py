"""What was applied, and which policy a service begins with."""

import pytest
from pydantic import ValidationError

from cache.errors import JournalUnavailable
from cache.memory_journal import MemoryJournal
from cache.scoped_journal import ScopedJournal
from router.policy import Policy
from router.policy_history import HISTORY, Action, Applied, policy_at_start, read_history, remember
from tests.policies import FlakyJournal, make_certificate

FILES, APPLIED, EDITED = Policy(threshold=1.0), Policy(threshold=2.0), Policy(threshold=3.0)


def entry(policy: Policy, file: Policy, action: Action = "apply", note: str = "") -> Applied:
    """A policy that was put in force while the file said another."""
    return Applied(
        at="2026-03-01T12:00:00+00:00",
        action=action,
        version=policy.version,
        file_version=file.version,
        note=note,
        policy=policy.model_dump(mode="json"),
    )


def test_service_without_a_history_begins_with_its_file() -> None:
    """Nothing was applied."""
    assert policy_at_start(FILES, []) == FILES


def test_applied_policy_outlives_the_restart() -> None:
    """The file has not changed since: what an operator applied stays."""
    assert policy_at_start(FILES, [entry(APPLIED, FILES)]) == APPLIED


def test_edited_file_wins_over_what_was_applied_before() -> None:
    """Whoever edits the file means it."""
    assert policy_at_start(EDITED, [entry(APPLIED, FILES)]) == EDITED


def test_only_the_newest_of_the_history_counts() -> None:
    """Rolled back to the file's own policy, the one between is past."""
    history = [entry(FILES, FILES, "rollback"), entry(APPLIED, FILES), entry(FILES, FILES, "start")]

    assert policy_at_start(FILES, history) == FILES


def test_file_edited_and_edited_back_wins_too() -> None:
    """Of the file as it was between there is an entry, so that the old one counts no more."""
    history = [entry(EDITED, EDITED, "reload"), entry(APPLIED, FILES)]

    assert policy_at_start(FILES, history) == FILES


def test_certificates_come_back_with_the_policy() -> None:
    """The history holds the whole document."""
    certified = Policy(target_agreement=0.99, certificates=(make_certificate(),))

    assert policy_at_start(FILES, [entry(certified, FILES)]).version == certified.version


def test_entry_that_this_version_reads_otherwise_is_an_error() -> None:
    """To be told, rather than a policy that nobody has written."""
    unreadable = entry(APPLIED, FILES).model_copy(update={"policy": {"margin": 2.0}})

    with pytest.raises(ValidationError):
        policy_at_start(FILES, [unreadable])


async def test_history_is_newest_first() -> None:
    """As it was remembered, notes included."""
    journal = MemoryJournal(2**20)
    for number, policy in enumerate((FILES, APPLIED, EDITED)):
        await remember(journal, entry(policy, FILES, note=f"number {number}"))

    history = await read_history(journal)

    assert [one.document() for one in history] == [EDITED, APPLIED, FILES]
    assert [one.note for one in history] == ["number 2", "number 1", "number 0"]
    assert len(await read_history(journal, 2)) == 2


async def test_deployments_that_share_a_journal_have_each_their_own_history() -> None:
    """By their names."""
    shared = MemoryJournal(2**20)
    one, other = ScopedJournal(shared, "one"), ScopedJournal(shared, "other")
    await remember(one, entry(APPLIED, FILES))

    assert [one.version for one in await read_history(one)] == [APPLIED.version]
    assert await read_history(other) == []


async def test_history_of_a_later_version_can_be_read() -> None:
    """Fields that this version does not know are left out."""
    journal = MemoryJournal(2**20)
    document = entry(APPLIED, FILES).model_dump_json().removesuffix("}") + ',"by_whom":"later"}'
    await journal.append(HISTORY, [document.encode()], keep=10)

    assert await read_history(journal) == [entry(APPLIED, FILES)]


async def test_journal_that_is_away_is_no_empty_history() -> None:
    """The caller is told, and does not begin anew."""
    journal = FlakyJournal()
    journal.is_away = True

    with pytest.raises(JournalUnavailable):
        await read_history(journal)
    with pytest.raises(JournalUnavailable):
        await remember(journal, entry(APPLIED, FILES))


async def test_entry_that_can_not_be_read_hides_no_other() -> None:
    """A later version may have written it."""
    journal = MemoryJournal(2**20)
    await remember(journal, entry(FILES, FILES))
    await journal.append(HISTORY, [b"{}", b"nonsense"], keep=10)

    assert [one.document() for one in await read_history(journal)] == [FILES]
