"""Many concurrent calls, one connection: lookups and writes gather while an exchange is in flight.

Pure asyncio: what an exchange is belongs to the `Link`. There is no timer on the way out: a lookup goes
at once when the link is idle. Each lookup waits on a future of its own with a deadline; when it passes,
or its caller goes away, the exchange goes on undisturbed and its late answer is thrown away.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from cache.errors import StoreUnavailable
from cache.link import Entries, Link, Timing, Values
from cache.store import Gate, StoreCounts

_log = logging.getLogger(__name__)

MAX_LOOKUP_KEYS = 256
MAX_WRITE_ENTRIES = 256
FIRST_BACKOFF_S = 0.05
LAST_BACKOFF_S = 1.0
GRACE_S = 0.001


class _Waiter:
    """One lookup: up to 256 keys, and the future of their values."""

    __slots__ = ("deadline", "future", "has_outcome", "keys")

    def __init__(self, keys: Sequence[bytes], future: asyncio.Future[Values], deadline: float) -> None:
        self.keys = keys
        self.future = future
        self.deadline = deadline
        self.has_outcome = False

    def settle(self, values: Values) -> None:
        """Give the values to the caller, if it still waits."""
        self.has_outcome = True
        if not self.future.done():
            self.future.set_result(values)

    def miss(self) -> None:
        """Tell the caller that nothing was found."""
        self.settle([None] * len(self.keys))


class Coalescer:
    """Runs the exchanges of one link. Belongs to the event loop it is made in."""

    def __init__(self, link: Link, gate: Gate, timing: Timing | None = None) -> None:
        self._link = link
        self._gate = gate
        self._timing = timing or Timing()
        self._loop = asyncio.get_running_loop()
        self._reads: deque[_Waiter] = deque()
        self._pending: deque[_Waiter] = deque()
        self._writes: deque[tuple[Entries, asyncio.Future[None]]] = deque()
        self._has_work = asyncio.Event()
        self._connected = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None
        self._hits = self._misses = self._timeouts = self._refused = self._errors = 0
        self._written = self._dropped = 0
        self._exchanges = 0
        self._runner = self._loop.create_task(self._run(), name="cache-link")
        self._runner.add_done_callback(self._end)

    async def get_many(self, keys: Sequence[bytes]) -> Values:
        """Return the keys' values within the lookup's deadline; None for a miss, an outage, a late answer."""
        now = time.monotonic()
        if not keys or not self._connected.is_set() or not self._gate.allow(now):
            self._refused += len(keys)
            return [None] * len(keys)
        deadline = now + self._timing.lookup_timeout_s
        if len(keys) <= MAX_LOOKUP_KEYS:
            return await self._ask(keys, deadline)
        futures = [
            self._ask(keys[start : start + MAX_LOOKUP_KEYS], deadline) for start in range(0, len(keys), MAX_LOOKUP_KEYS)
        ]
        return [value for future in futures for value in await future]

    async def put_many(self, entries: Entries) -> None:
        """Write the entries, and return when they are written or dropped."""
        if not entries:
            return
        if not self._connected.is_set() or not self._gate.allow(time.monotonic()):
            self._dropped += len(entries)
            return
        futures: list[asyncio.Future[None]] = []
        for start in range(0, len(entries), MAX_WRITE_ENTRIES):
            future = self._loop.create_future()
            futures.append(future)
            self._writes.append((entries[start : start + MAX_WRITE_ENTRIES], future))
        self._has_work.set()
        await asyncio.wait(futures)

    async def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the link to be up, for at most `timeout_s` seconds; return whether it is."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connected.wait()
        except TimeoutError:
            return False

    def counts(self) -> StoreCounts:
        """Return a snapshot of the counters."""
        return StoreCounts(
            hits=self._hits,
            misses=self._misses,
            timeouts=self._timeouts,
            refused=self._refused,
            errors=self._errors,
            writes=self._written,
            dropped_writes=self._dropped,
        )

    @property
    def unanswered(self) -> int:
        """Keys that were asked for and not answered, whyever."""
        return self._timeouts + self._refused + self._errors

    @property
    def exchanges(self) -> int:
        """Lookup exchanges that were answered; fewer than lookups, since those gather."""
        return self._exchanges

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._connected.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether the task that owns the link still runs."""
        return not self._runner.done()

    async def close(self) -> None:
        """Stop, answer who still waits, and let go of the link."""
        self._runner.cancel()
        await asyncio.wait([self._runner])
        await self._link.disconnect()

    def _ask(self, keys: Sequence[bytes], deadline: float) -> asyncio.Future[Values]:
        future: asyncio.Future[Values] = self._loop.create_future()
        waiter = _Waiter(keys, future, deadline)
        self._reads.append(waiter)
        self._pending.append(waiter)
        if self._sweep is None:
            self._plan_sweep(deadline)
        self._has_work.set()
        return future

    def _plan_sweep(self, at: float, *, is_grace: bool = False) -> None:
        latest = at + (math.inf if is_grace else GRACE_S)
        self._sweep = self._loop.call_later(max(0.0, at - time.monotonic()), self._expire, latest)

    def _expire(self, latest: float) -> None:
        """Answer the lookups whose deadline has passed, and look again when the next one's does."""
        self._sweep = None
        now = time.monotonic()
        if now > latest:
            # The loop itself was late: an answer may lie in the socket, unread. Once, let it be read.
            self._plan_sweep(now + GRACE_S, is_grace=True)
            return
        late = 0
        while self._pending and (self._pending[0].has_outcome or self._pending[0].deadline <= now):
            waiter = self._pending.popleft()
            if not waiter.has_outcome:
                late += len(waiter.keys)
                waiter.miss()
        if late:
            self._timeouts += late
            self._gate.failed(now)
        if self._pending:
            self._plan_sweep(self._pending[0].deadline)

    async def _run(self) -> None:
        """Own the link: connect, serve until it is lost, begin again."""
        while True:
            await self._connect()
            try:
                await self._serve()
            except (StoreUnavailable, TimeoutError) as error:
                _log.warning("cache: lost the shared store, going on without it (%s)", type(error).__name__)
                self._connected.clear()
                self._gate.failed(time.monotonic())
                self._drop_waiting()
                await self._link.disconnect()

    async def _connect(self) -> None:
        """Connect with growing pauses. The attempt is the gate's probe: success closes a breaker at once."""
        pause_s = FIRST_BACKOFF_S
        while True:
            if self._gate.allow(time.monotonic()):
                try:
                    await self._link.connect()
                except StoreUnavailable as error:
                    _log.debug("cache: the shared store cannot be reached: %s", error)
                    self._gate.failed(time.monotonic())
                else:
                    self._gate.succeeded(time.monotonic())
                    self._connected.set()
                    _log.info("cache: connected to the shared store")
                    return
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnections
            pause_s = min(2 * pause_s, LAST_BACKOFF_S)

    async def _serve(self) -> None:
        while True:
            if not self._reads and not self._writes:
                self._has_work.clear()
                await self._wait_for_work()
            async with asyncio.timeout(self._timing.stall_timeout_s):
                await self._exchange_reads()
                await self._exchange_writes()

    async def _wait_for_work(self) -> None:
        """Wait, and try the link now and then: a lost one shall cost no lookup."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.heartbeat_s):
                    await self._has_work.wait()
                    return
            async with asyncio.timeout(self._timing.stall_timeout_s):
                await self._link.ping()

    async def _exchange_reads(self) -> None:
        batch = self._take_reads()
        if not batch:
            return
        keys = [key for waiter in batch for key in waiter.keys] if len(batch) > 1 else batch[0].keys
        values = await self._link.get(keys)
        self._exchanges += 1
        if values is None:
            self._errors += len(keys)
            self._gate.failed(time.monotonic())
            for waiter in batch:
                waiter.miss()
            return
        if not batch[0].has_outcome:  # else the sweep has called this exchange late
            self._gate.succeeded(time.monotonic())
        self._deliver(batch, values)

    def _take_reads(self) -> list[_Waiter]:
        batch: list[_Waiter] = []
        room = MAX_LOOKUP_KEYS
        while self._reads and len(self._reads[0].keys) <= room:
            waiter = self._reads.popleft()
            if not waiter.has_outcome:
                batch.append(waiter)
                room -= len(waiter.keys)
        return batch

    def _deliver(self, batch: Sequence[_Waiter], values: Values) -> None:
        start = 0
        for waiter in batch:
            end = start + len(waiter.keys)
            waiter.settle(values[start:end])
            start = end
        misses = values.count(None)
        self._misses += misses
        self._hits += len(values) - misses

    async def _exchange_writes(self) -> None:
        if not self._writes:
            return
        entries, future = self._writes[0]
        refused = await self._link.put(entries)
        self._writes.popleft()
        self._written += len(entries) - refused
        self._dropped += refused
        self._gate.succeeded(time.monotonic())
        if not future.done():
            future.set_result(None)

    def _drop_waiting(self) -> None:
        """Answer everything that waits: lookups by misses, writes by dropping them."""
        while self._pending:
            waiter = self._pending.popleft()
            if not waiter.has_outcome:
                self._errors += len(waiter.keys)
                waiter.miss()
        self._reads.clear()
        while self._writes:
            entries, future = self._writes.popleft()
            self._dropped += len(entries)
            if not future.done():
                future.set_result(None)

    def _end(self, runner: asyncio.Task[None]) -> None:
        self._connected.clear()
        self._drop_waiting()
        if self._sweep is not None:
            self._sweep.cancel()
        if not runner.cancelled() and runner.exception() is not None:
            _log.error("cache: the shared store's task died", exc_info=runner.exception())
