"""A connection and a gate for tests of the coalescer: the test gives the answers, and reads the reports."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from cache.errors import StoreUnavailable
from cache.link import Entries, Values
from cache.store import OpenGate

TICKS = 10


class ManualLink:
    """A connection whose answers to lookups the test gives, in the order of the questions."""

    def __init__(self) -> None:
        self.gets: list[list[bytes]] = []
        self.puts: list[int] = []
        self.connects = 0
        self.pings = 0
        self.tried_again = asyncio.Event()
        self.is_reachable = True
        self.is_silent = False
        self.held: list[Callable[[], object]] = []
        self.lose: Callable[[], object] = bool
        self._answers: deque[tuple[list[bytes], Callable[[Values | None], object]]] = deque()

    async def connect(self, lost: Callable[[], object]) -> None:
        """Connect if the test allows it."""
        self.connects += 1
        if self.connects > 1:
            self.tried_again.set()
        if not self.is_reachable:
            raise StoreUnavailable("refused")
        self.lose = lost

    def ping(self, answer: Callable[[], object]) -> None:
        """Answer if the test allows it, or lose the connection."""
        self.pings += 1
        self._answer_soon(answer if self.is_reachable else self.lose)

    def look_up(self, keys: Sequence[bytes], answer: Callable[[Values | None], object]) -> None:
        """Wait for the test's answer."""
        self.gets.append(list(keys))
        self._answers.append((list(keys), answer))

    def write(self, entries: Entries, answer: Callable[[int], object]) -> None:
        """Take all entries but those with an empty value."""
        self.puts.append(len(entries))
        self._answer_soon(partial(answer, sum(not value for _, value in entries)))

    async def disconnect(self) -> None:
        """Forget what was asked."""
        self._answers.clear()

    def answer(self) -> None:
        """Answer the oldest question: every key's value is the key."""
        keys, answer = self._answers.popleft()
        answer(list(keys))

    def refuse(self) -> None:
        """Answer the oldest question by an error."""
        _, answer = self._answers.popleft()
        answer(None)

    def _answer_soon(self, answer: Callable[[], object]) -> None:
        """Answer in the next turn of the loop, or leave it to the test."""
        if self.is_silent:
            self.held.append(answer)
        else:
            asyncio.get_running_loop().call_soon(answer)


class Diary(OpenGate):
    """A gate that can be shut, and writes down what it is told."""

    def __init__(self) -> None:
        self.is_shut = False
        self.reports: list[str] = []

    def allow(self, now: float) -> bool:
        """Whether the test left it open."""
        return not self.is_shut

    def succeeded(self, now: float) -> None:
        """Write down a success."""
        self.reports.append("succeeded")

    def failed(self, now: float) -> None:
        """Write down a failure."""
        self.reports.append("failed")


async def tick() -> None:
    """Let every ready task run."""
    for _ in range(TICKS):
        await asyncio.sleep(0)
