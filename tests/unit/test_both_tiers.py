"""Asking both tiers the same questions, of an API over two fake tiers."""

from pathlib import Path

import httpx
import pytest

from jobs.both_tiers import ask_both
from jobs.errors import ServiceFailed
from jobs.questions import FileQuestion
from router.tier_calls import TierUnreachable
from tests.fakes import FakeRouter

TEXTS = ("cat", "dog")


def placed(
    router: FakeRouter, folder: Path, name: str, *, fast: tuple[float, float], accurate: tuple[float, float]
) -> FileQuestion:
    """A picture's file, with these cosines to "cat" and "dog" on each tier."""
    file = folder / name
    file.write_bytes(name.encode())
    router.place(name.encode(), fast=fast, accurate=accurate)
    return FileQuestion(file, TEXTS)


async def test_pairs_tell_margin_and_agreement(tmp_path: Path) -> None:
    """The margin is the fast tier's; progress counts to the end."""
    router = FakeRouter()
    questions = [
        placed(router, tmp_path, "alike", fast=(0.6, 0.4), accurate=(0.7, 0.2)),
        placed(router, tmp_path, "unlike", fast=(0.5, 0.45), accurate=(0.3, 0.6)),
    ]
    seen: list[int] = []

    async with router.client() as client:
        pairs = await ask_both(client, questions, seen.append)

    assert [(pair.candidates, pair.agrees) for pair in pairs] == [(2, True), (2, False)]
    assert pairs[0].margin == pytest.approx(2.0, abs=1e-2)
    assert sorted(seen) == [1, 2]


async def test_both_tiers_are_asked_as_warm_up(tmp_path: Path) -> None:
    """Callers come first."""
    router = FakeRouter()
    question = placed(router, tmp_path, "any", fast=(0.6, 0.4), accurate=(0.7, 0.2))

    async with router.client() as client:
        await ask_both(client, [question], lambda _: None)

    assert {call.traffic for tier in (router.fast, router.accurate) for call in tier.handle.calls} == {"warm_up"}


async def test_question_without_two_answers_is_missing(tmp_path: Path) -> None:
    """A file that is gone; the others are kept."""
    router = FakeRouter()
    good = placed(router, tmp_path, "good", fast=(0.6, 0.4), accurate=(0.7, 0.2))

    async with router.client() as client:
        pairs = await ask_both(client, [FileQuestion(tmp_path / "gone", TEXTS), good], lambda _: None)

    assert len(pairs) == 1


async def test_service_that_answers_nothing_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has been asked again a few times."""
    monkeypatch.setattr("jobs.both_tiers.RETRY_S", 0.0)
    router = FakeRouter()
    router.accurate.handle.fault = TierUnreachable()
    question = placed(router, tmp_path, "any", fast=(0.6, 0.4), accurate=(0.7, 0.2))

    async with router.client() as client:
        with pytest.raises(ServiceFailed):
            await ask_both(client, [question], lambda _: None)


async def test_service_that_is_not_there_has_failed(tmp_path: Path) -> None:
    """At once."""
    file = tmp_path / "any"
    file.touch()
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as client:
        with pytest.raises(ExceptionGroup) as failure:
            await ask_both(client, [FileQuestion(file, TEXTS)], lambda _: None)

    assert failure.group_contains(ServiceFailed)
