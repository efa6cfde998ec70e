"""Load on a service: questions that nobody has asked before, and all that came of them."""

import functools
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.pictures import as_base64, captions, picture

CLIENT_PATIENCE_S = 20.0
"""A client gives up here, which counts as a hang: every deadline in these tests is shorter."""
OVERTIME_S = 0.75
"""What an answer may come after its deadline: client, load and service share the cores."""
SCENES = 48
_seeds = itertools.count(2_000_000)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and what came of it; times are of the monotonic clock."""

    seed: int
    began_at: float
    ended_at: float
    status: int
    """0 where there was no answer."""
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    """Why there was no answer."""

    @property
    def took_s(self) -> float:
        """Seconds from asking to the end."""
        return self.ended_at - self.began_at

    @property
    def tiering(self) -> Mapping[str, Any]:
        """What the answer says of who gave it; nothing where there is none."""
        if self.status != 200:
            return {}
        tiering: Mapping[str, Any] = self.body["data"][0]["tiering"]
        return tiering

    @property
    def is_degraded(self) -> bool:
        """Whether a second look was due and could not be had."""
        return bool(self.tiering.get("degraded"))

    @property
    def is_second_look(self) -> bool:
        """Whether the accurate tier answered."""
        return self.tiering.get("tier") == "accurate"

    def __str__(self) -> str:
        said = self.fault or self.tiering.get("degraded") or self.body.get("error", {}).get("code", "")
        return f"{self.status} {said} after {self.took_s:.2f} s"


def new_seed() -> int:
    """A seed that has not been asked about in this run."""
    return next(_seeds)


@functools.cache
def scene_picture(scene: int) -> bytes:
    """One of the pictures that seeds share: to draw one takes longer than to ask about it."""
    return picture(scene)


@functools.cache
def _scene_captions(scene: int) -> list[str]:
    return captions(scene)


def picture_of(seed: int) -> bytes:
    """A seed's picture: as a file it is unlike any other, what it shows is its scene."""
    return scene_picture(seed % SCENES) + seed.to_bytes(8, "big")


def texts_of(seed: int) -> list[str]:
    """A seed's texts, unlike any other's."""
    return [f"{caption} {seed}" for caption in _scene_captions(seed % SCENES)]


def question(seed: int, **fields: object) -> bytes:
    """The body of a question about a seed's picture."""
    return json.dumps({"images": [as_base64(picture_of(seed))], "texts": texts_of(seed), **fields}).encode()


def ask(client: httpx.Client, seed: int, deadline_s: float, **fields: object) -> Exchange:
    """Ask about a seed's picture; whatever happens is an exchange."""
    content = question(seed, **fields)
    headers = {"content-type": "application/json", "x-deadline-ms": str(int(deadline_s * 1e3))}
    began_at = time.monotonic()
    try:
        response = client.post("/v1/similarity", content=content, headers=headers)
    except httpx.HTTPError as error:
        return Exchange(seed, began_at, time.monotonic(), 0, fault=type(error).__name__)
    ended_at = time.monotonic()
    try:
        body = response.json()
    except ValueError:
        body = {"error": {"code": f"not JSON: {response.text[:80]}"}}
    return Exchange(seed, began_at, ended_at, response.status_code, body, dict(response.headers))


class Load:
    """Some clients that ask one question after the other until the block ends; `seeds` says about what."""

    def __init__(
        self,
        base_url: str,
        *,
        clients: int = 4,
        pause_s: float = 0.03,
        deadline_s: float = 5.0,
        keeps_connections: bool = True,
        seeds: Callable[[], int] = new_seed,
    ) -> None:
        self.exchanges: list[Exchange] = []
        self.clients = clients
        self.deadline_s = deadline_s
        self._base_url = base_url
        self._pause_s = pause_s
        self._seeds = seeds
        self._limits = httpx.Limits(max_keepalive_connections=None if keeps_connections else 0)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(CLIENT_PATIENCE_S + 5)

    def go_on(self, seconds: float) -> None:
        """Let the clients ask for a while."""
        self._stopping.wait(seconds)

    def since(self, moment: float) -> list[Exchange]:
        """What was asked after a moment, and has ended."""
        return [exchange for exchange in list(self.exchanges) if exchange.began_at >= moment]

    def last(self, seconds: float) -> list[Exchange]:
        """What has ended in the last so many seconds."""
        since = time.monotonic() - seconds
        return [exchange for exchange in list(self.exchanges) if exchange.ended_at >= since]

    def at(self, moment: float) -> list[Exchange]:
        """What was under way at a moment, and has ended."""
        return [exchange for exchange in list(self.exchanges) if exchange.began_at <= moment <= exchange.ended_at]

    def _run(self) -> None:
        with httpx.Client(base_url=self._base_url, timeout=CLIENT_PATIENCE_S, limits=self._limits) as client:
            while not self._stopping.wait(self._pause_s):
                self.exchanges.append(ask(client, self._seeds(), self.deadline_s))


def not_answered(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Those that are no 200."""
    return [exchange for exchange in exchanges if exchange.status != 200]


def degraded(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Those that say that a second look was due and could not be had."""
    return [exchange for exchange in exchanges if exchange.is_degraded]


def overdue(exchanges: Sequence[Exchange], deadline_s: float) -> list[Exchange]:
    """Those that ended later than their deadline allows."""
    return [exchange for exchange in exchanges if exchange.took_s > deadline_s + OVERTIME_S]


def percentile_ms(exchanges: Sequence[Exchange], share: float) -> float:
    """A percentile of what they took, in milliseconds."""
    times = sorted(exchange.took_s for exchange in exchanges)
    return times[min(len(times) - 1, int(share * len(times)))] * 1e3


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Poll until a condition holds; returns the seconds that it took."""
    began_at = time.monotonic()
    while not condition():
        assert time.monotonic() - began_at < timeout_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began_at
