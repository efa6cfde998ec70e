"""Many concurrent calls, one connection: lookups and writes gather while an exchange is in flight.

Pure asyncio: what an exchange is belongs to the `Link`. There is no timer on the way out: the lookups of one turn of
the event loop go together at its end, if the link has room for them. Each lookup waits on a future of its own with a
deadline; when it passes, or its caller goes away, the exchange goes on undisturbed and its late answer is thrown away.
Only connecting is a task: everything else happens in the callbacks that bring the answers.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Sequence

from cache.alarm import Alarm
from cache.errors import StoreUnavailable
from cache.exchange import MAX_LOOKUP_KEYS, Exchange, Waiter, Write, count_passed, cut, miss, take, take_writes
from cache.link import Entries, Link, Timing, Values
from cache.store import Gate, StoreCounts

_log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 2
"""Lookup exchanges: the store works on one while we read the other's answer."""
FIRST_BACKOFF_S = 0.05
LAST_BACKOFF_S = 1.0


class Coalescer:
    """Runs the exchanges of one link. Belongs to the event loop it is made in."""

    def __init__(self, link: Link, gate: Gate, timing: Timing | None = None) -> None:
        self._link = link
        self._gate = gate
        self._timing = timing or Timing()
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Waiter] = []
        self._asked: deque[Exchange] = deque()
        self._is_planned = False
        self._writes: deque[Write] = deque()
        self._writing: list[Write] = []
        self._expiry = Alarm(self._loop, self._expire)
        self._watchdog = Alarm(self._loop, self._watch)
        self._unanswered_exchanges = 0
        self._last_heard = 0.0
        self._is_connected = False
        self._connected = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._hits = self._misses = self._timeouts = self._refused = self._errors = 0
        self._written = self._dropped = 0
        self._exchanges = 0
        self._runner = self._loop.create_task(self._run(), name="cache-link")
        self._runner.add_done_callback(self._end)

    async def get_many(self, keys: Sequence[bytes]) -> Values:
        """Return the keys' values within the lookup's deadline; None for a miss, an outage, a late answer."""
        now = time.monotonic()
        if not self._is_connected or not keys or not self._gate.allow(now):
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
        if not self._is_connected or not self._gate.allow(time.monotonic()):
            self._dropped += len(entries)
            return
        writes = [Write(piece, size, self._loop.create_future()) for piece, size in cut(entries)]
        self._writes.extend(writes)
        self._send_writes()
        for write in writes:
            await write.future

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
        return self._is_connected

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
        # A copy: a caller that goes away may change its list, and with it who gets which of the values.
        self._waiting.append((deadline, tuple(keys), future))
        if not self._is_planned and len(self._asked) < MAX_IN_FLIGHT:
            self._is_planned = True
            self._loop.call_soon(self._send_lookups)
        if self._expiry.at > deadline:
            self._expiry.set(deadline)
        return future

    def _send_lookups(self) -> None:
        self._is_planned = False
        while self._waiting and len(self._asked) < MAX_IN_FLIGHT:
            exchange = Exchange(take(self._waiting))
            self._asked.append(exchange)
            self._begin()
            self._link.look_up(exchange.keys, self._answer_lookups)

    def _answer_lookups(self, values: Values | None) -> None:
        if not self._is_connected:
            return
        now = self._hear()
        exchange = self._asked.popleft()
        self._exchanges += 1
        if values is None:
            self._errors += exchange.give_up()
            self._gate.failed(now)
        else:
            if not exchange.is_late:  # else `_expire` has reported it
                self._gate.succeeded(now)
            in_time = exchange.deliver(values)
            misses = in_time.count(None)
            self._misses += misses
            self._hits += len(in_time) - misses
        if self._waiting:
            self._send_lookups()

    def _send_writes(self) -> None:
        if self._writes and not self._writing:
            self._writing = take_writes(self._writes)
            entries = [entry for write in self._writing for entry in write.entries]
            self._begin()
            self._link.write(entries, self._answer_writes)

    def _answer_writes(self, refused: int) -> None:
        if not self._is_connected:
            return
        self._gate.succeeded(self._hear())
        written, self._writing = self._writing, []
        self._written += sum(len(write.entries) for write in written) - refused
        self._dropped += refused
        for write in written:
            write.settle()
        self._send_writes()

    def _begin(self) -> None:
        """Count an exchange that begins; the first one's time begins to run."""
        if self._unanswered_exchanges == 0:
            self._last_heard = time.monotonic()
            due = self._last_heard + self._timing.stall_timeout_s
            if self._watchdog.at > due:
                self._watchdog.set(due)
        self._unanswered_exchanges += 1

    def _hear(self) -> float:
        """Count an exchange that was answered; the next one's time begins to run. Return the time."""
        self._unanswered_exchanges -= 1
        self._last_heard = now = time.monotonic()
        return now

    def _expire(self, now: float) -> None:
        """Answer the lookups whose deadline has passed, and look again when the next one's does."""
        late = sum([exchange.expire(now) for exchange in self._asked])
        passed = count_passed(self._waiting, now)
        late += miss(self._waiting[:passed])
        del self._waiting[:passed]
        if late:
            self._timeouts += late
            self._gate.failed(now)
        deadlines = [exchange.next_deadline for exchange in self._asked] + [waiter[0] for waiter in self._waiting[:1]]
        following = [deadline for deadline in deadlines if deadline is not None]
        if following:
            self._expiry.set(following[0])

    def _watch(self, now: float) -> None:
        """Give up a link that does not answer, and try a silent one now and then: its loss shall cost no lookup."""
        is_asked = self._unanswered_exchanges > 0
        due = self._last_heard + (self._timing.stall_timeout_s if is_asked else self._timing.heartbeat_s)
        if now < due:
            self._watchdog.set(due)
        elif is_asked:
            self._lose()
        else:
            self._begin()
            self._link.ping(self._answer_ping)

    def _answer_ping(self) -> None:
        if self._is_connected:
            self._watchdog.set(self._hear() + self._timing.heartbeat_s)

    async def _run(self) -> None:
        """Own the link: connect, wait until it is lost, begin again."""
        while True:
            await self._connect()
            await self._disconnected.wait()
            await self._link.disconnect()

    async def _connect(self) -> None:
        """Connect with growing pauses. The attempt is the gate's probe: success closes a breaker at once."""
        pause_s = FIRST_BACKOFF_S
        while True:
            if self._gate.allow(time.monotonic()):
                try:
                    await self._link.connect(self._lose)
                except StoreUnavailable as error:
                    level = logging.WARNING if pause_s == FIRST_BACKOFF_S else logging.DEBUG  # once for each outage
                    _log.log(level, "cache: the shared store cannot be reached: %s", error)
                    self._gate.failed(time.monotonic())
                else:
                    self._open()
                    return
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnections
            pause_s = min(2 * pause_s, LAST_BACKOFF_S)

    def _open(self) -> None:
        self._last_heard = time.monotonic()
        self._gate.succeeded(self._last_heard)
        self._watchdog.set(self._last_heard + self._timing.heartbeat_s)
        self._disconnected.clear()
        self._is_connected = True
        self._connected.set()
        _log.info("cache: connected to the shared store")

    def _lose(self) -> None:
        """Give the link up. Whatever it still answers is nobody's."""
        if self._is_connected:
            _log.warning("cache: lost the shared store, going on without it")
            self._gate.failed(time.monotonic())
            self._drop_waiting()
            self._disconnected.set()

    def _drop_waiting(self) -> None:
        """Answer everything that waits: lookups by misses, writes by dropping them."""
        self._is_connected = False
        self._connected.clear()
        self._expiry.cancel()
        self._watchdog.cancel()
        self._unanswered_exchanges = 0
        self._errors += sum([exchange.give_up() for exchange in self._asked]) + miss(self._waiting)
        self._asked.clear()
        self._waiting.clear()
        for write in [*self._writing, *self._writes]:
            self._dropped += len(write.entries)
            write.settle()
        self._writing = []
        self._writes.clear()

    def _end(self, runner: asyncio.Task[None]) -> None:
        self._drop_waiting()
        if not runner.cancelled() and runner.exception() is not None:
            _log.error("cache: the shared store's task died", exc_info=runner.exception())
