"""The load generator: a process of its own that sends prebuilt requests over keep-alive connections.

Run as `python -m bench.load`: a plan as JSON on standard input; a line when measuring begins and a line with
the figures at the end on standard output. Closed loop: every connection sends its next request when the last
was answered. Open loop: requests are due at fixed times, and a latency counts from when its request was due.
"""

import asyncio
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import orjson
import uvloop

from bench.latency import Latency, percentile
from bench.schedule import Arrivals, RandomArrivals, for_duration
from bench.wire import AnswerReader, UnexpectedAnswer, read_requests

OK = 200
BUSY_SHARE = 0.8
"""CPU share of one core above which the generator itself may have been the limit."""
MAX_RECONNECTIONS = 1000
PRIME = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A proxy has less patience with a connection that has never asked anything than with one that is kept alive."""
GRACE_S = 15.0
"""How long answers may be late at the end of a run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where, for how long; `rate` 0 is a closed loop, a random one has independent callers' arrivals.

    With `once`, requests are not sent a second time: the run ends when they are used up.
    """

    host: str
    port: int
    requests_file: str
    connections: int
    seconds: float
    warm_up_s: float = 0.5
    rate: float = 0.0
    first: int = 0
    once: bool = False
    timeline: bool = False
    is_random: bool = False


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._reader = AnswerReader()
        self._transport: asyncio.WriteTransport | None = None
        self._has_begun = False
        self.counts_from: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: there is a connection, which in an open loop may have to wait for its first request."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own kind
        if self._run.is_open_loop:
            self._transport.write(PRIME)
        else:
            self._begin()

    def _begin(self) -> None:
        self._has_begun = True
        self._run.is_free(self)

    def send(self, request: bytes, counts_from: float) -> None:
        """Send a request whose latency counts from the given time."""
        assert self._transport is not None
        self.counts_from = counts_from
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Count the answers that are complete and send the next request."""
        try:
            for status in self._reader.feed(data):
                if not self._has_begun:
                    self._begin()
                    continue
                counts_from, self.counts_from = self.counts_from, None
                if counts_from is None:  # a proxy's farewell to a connection that was idle
                    return
                self._run.answered(status, counts_from)
                self._run.is_free(self)
        except UnexpectedAnswer as error:
            self._run.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Tell the run what was lost with the connection."""
        self._run.lost(self, self.counts_from)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


class Run:
    """One run of a plan: which request is next, and what came back."""

    def __init__(self, plan: Plan, requests: Sequence[bytes]) -> None:
        self._plan = plan
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._next = plan.first
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[float] = deque()
        self._schedule: Arrivals | None = None
        self._released = 0
        self._in_flight = 0
        self._reconnections = 0
        self._stopping = False
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._begins_at = self._ends_at = 0.0
        self._cpu_at_begin = self._cpu_at_end = 0.0
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._latencies_by_status: defaultdict[str, list[float]] = defaultdict(list)
        self._timeline: list[tuple[float, float, int]] = []
        self._lags: list[float] = []

    async def execute(self) -> dict[str, object]:
        """Connect, warm up, measure, and return the figures."""
        plan = self._plan
        now = time.perf_counter()
        self._begins_at, self._ends_at = now + plan.warm_up_s, now + plan.warm_up_s + plan.seconds
        self._loop.call_later(plan.warm_up_s, self._begin)
        if plan.rate:
            span_s = plan.warm_up_s + plan.seconds
            self._schedule = (
                RandomArrivals(now, plan.rate, span_s) if plan.is_random else for_duration(now, plan.rate, span_s)
            )
        for _ in range(plan.connections):
            await self._connect()
        if self._schedule:
            threading.Thread(target=self._pace, args=(self._schedule,), daemon=True).start()
        self._loop.call_later(self._ends_at - time.perf_counter(), self._end)
        timeout = self._loop.call_later(self._ends_at - now + GRACE_S, self._give_up)
        await self._done
        timeout.cancel()
        if not self._cpu_at_begin:  # used up before the warm-up was over
            self._begin()
        for connection in list(self._open):
            connection.close()
        return self._figures()

    @property
    def is_open_loop(self) -> bool:
        """Whether requests are due at fixed times."""
        return self._plan.rate > 0

    def is_free(self, connection: Connection) -> None:
        """Give a connection that has nothing to do its next request, or let it wait for one."""
        self._open.add(connection)
        if self._schedule is not None:
            if self._waiting:
                self._send(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)
                self._finish_if_done()
        elif self._stopping or self._is_used_up:
            self._finish_if_done()
        else:
            self._send(connection, time.perf_counter())

    def answered(self, status: int, counts_from: float) -> None:
        """Count one answer: in a closed loop those that came in the measured time, else those due in it."""
        now = time.perf_counter()
        self._in_flight -= 1
        counted = counts_from if self._schedule else now
        if not self._begins_at <= counted < self._ends_at:
            return
        self._statuses[str(status)] += 1
        self._latencies.append(now - counts_from)
        self._latencies_by_status[str(status)].append(now - counts_from)
        if self._plan.timeline:
            self._timeline.append((counts_from - self._begins_at, now - counts_from, status))

    def lost(self, connection: Connection, counts_from: float | None) -> None:
        """Count a request that its connection took with it, and connect anew."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._done.done():
            return
        if counts_from is not None:
            self._in_flight -= 1
            self._statuses["lost"] += 1
        self._reconnections += 1
        if self._reconnections > MAX_RECONNECTIONS:
            self.fail(ConnectionError(f"connections were lost {MAX_RECONNECTIONS} times"))
        else:
            self._loop.create_task(self._connect())

    def fail(self, error: Exception) -> None:
        """End the run with an error."""
        if not self._done.done():
            self._done.set_exception(error)

    @property
    def _is_used_up(self) -> bool:
        return self._plan.once and self._next >= len(self._requests)

    def _send(self, connection: Connection, counts_from: float) -> None:
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        self._in_flight += 1
        connection.send(request, counts_from)

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: Connection(self), self._plan.host, self._plan.port)
        except OSError as error:
            self.fail(error)

    def _pace(self, schedule: Arrivals) -> None:
        """Wake the loop whenever a request is due; a thread, since the loop's timers are too coarse."""
        number = 0
        while number < schedule.count and not self._done.done():
            delay = schedule.intended(number) - time.perf_counter()
            if delay > 0:
                time.sleep(delay)
            self._loop.call_soon_threadsafe(self._release)
            number = max(number + 1, schedule.due(time.perf_counter()))

    def _release(self) -> None:
        assert self._schedule is not None
        now = time.perf_counter()
        due = self._schedule.due(now)
        while self._released < due and not self._is_used_up:
            intended = self._schedule.intended(self._released)
            self._released += 1
            if self._idle:
                self._lags.append(now - intended)
                self._send(self._idle.pop(), intended)
            else:
                self._waiting.append(intended)

    def _begin(self) -> None:
        self._cpu_at_begin = time.process_time()
        sys.stdout.buffer.write(b'{"event":"begin"}\n')
        sys.stdout.buffer.flush()

    def _end(self) -> None:
        self._cpu_at_end = time.process_time()
        self._stopping = True
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        is_over = self._stopping or self._is_used_up
        if is_over and not self._in_flight and not self._waiting and not self._done.done():
            self._done.set_result(None)

    def _give_up(self) -> None:
        """Count what is still out as unanswered, with the time that it has waited so far."""
        now = time.perf_counter()
        out = [one.counts_from for one in self._open if one.counts_from is not None] + list(self._waiting)
        self._statuses["unanswered"] += len(out)
        self._latencies += [now - counts_from for counts_from in out]
        if not self._done.done():
            self._done.set_result(None)

    def _figures(self) -> dict[str, object]:
        ended = min(self._ends_at, time.perf_counter())
        measured_s = max(ended - self._begins_at, 1e-9)
        cpu_s = (self._cpu_at_end or time.process_time()) - self._cpu_at_begin
        answered_ok = self._statuses[str(OK)]
        share = cpu_s / measured_s
        return {
            "event": "end",
            "requests": answered_ok,
            "requests_per_s": answered_ok / measured_s,
            "measured_s": measured_s,
            "statuses": dict(self._statuses),
            "errors": sum(count for status, count in self._statuses.items() if status != str(OK)),
            **Latency.of(self._latencies).as_figures(),
            "by_status": {status: Latency.of(of).as_figures() for status, of in self._latencies_by_status.items()},
            "generator_cpu_share": share,
            "generator_is_the_limit": share > BUSY_SHARE,
            "generator_lag_p99_ms": percentile(sorted(self._lags), 0.99) * 1e3 if self._lags else None,
            "next": self._next,
            "timeline": self._timeline,
        }


async def _execute(plan: Plan) -> dict[str, object]:
    return await Run(plan, read_requests(Path(plan.requests_file))).execute()


def main() -> None:
    """Run the plan on standard input."""
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    figures = uvloop.run(_execute(plan))
    sys.stdout.buffer.write(orjson.dumps(figures) + b"\n")


def as_json(plan: Plan) -> bytes:
    """Return what `main` reads."""
    return orjson.dumps(asdict(plan))


if __name__ == "__main__":
    main()
