"""Identical misses in flight are computed once within a process."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

from cache.errors import LeaderGone

V = TypeVar("V")


class Claim(Generic[V]):
    """A caller's share of the misses in flight: a future per key, and the keys that it must compute itself.

    As a context manager it fails, on exit, whatever led key was neither resolved nor failed, so that a
    leader which raises or is cancelled never leaves its waiters hanging.
    """

    __slots__ = ("_flight", "futures", "led")

    def __init__(self, flight: "SingleFlight[V]", futures: dict[bytes, asyncio.Future[V]], led: list[bytes]) -> None:
        self._flight = flight
        self.futures = futures
        self.led = led

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key in self.led:
            if self._flight.is_led_for(key, self.futures[key]):
                self._flight.fail(key, LeaderGone("the call that computed this input ended without an answer"))


class SingleFlight(Generic[V]):
    """Knows which keys are being computed, and by whom.

    Every claim waits on futures of its own: to cancel one touches neither the leader nor another waiter.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, list[asyncio.Future[V]]] = {}
        self._joins = 0

    def claim(self, keys: Iterable[bytes]) -> Claim[V]:
        """Join the flights of these keys and lead those which have none; a repeated key counts once."""
        loop = asyncio.get_running_loop()
        futures: dict[bytes, asyncio.Future[V]] = {}
        led: list[bytes] = []
        for key in keys:
            if key in futures:
                continue
            future = futures[key] = loop.create_future()
            flight = self._flights.get(key)
            if flight is None:
                self._flights[key] = [future]
                led.append(key)
            else:
                flight.append(future)
                self._joins += 1
        return Claim(self, futures, led)

    def resolve(self, key: bytes, value: V) -> None:
        """Give the answer to all who wait for the key; the next claim of it leads anew."""
        for future in self._flights.pop(key, ()):
            if not future.done():
                future.set_result(value)

    def fail(self, key: bytes, error: Exception) -> None:
        """Fail all who wait for the key; the next claim of it leads anew."""
        error = error.with_traceback(None)  # its frames hold the claimers' inputs, and would be held with it
        for future in self._flights.pop(key, ()):
            if not future.done():
                future.set_exception(error)
                future.exception()  # a waiter that went away shall not be logged as a lost exception

    def leave(self, claim: Claim[V]) -> list[bytes]:
        """Give a claim up and return the keys that nobody waits for any more; they are in flight no longer."""
        abandoned: list[bytes] = []
        for key, future in claim.futures.items():
            future.cancel()
            flight = self._flights.get(key, ())
            if any(one is future for one in flight) and all(one.done() for one in flight):
                del self._flights[key]
                abandoned.append(key)
        return abandoned

    def is_led_for(self, key: bytes, future: asyncio.Future[V]) -> bool:
        """Whether the key is still in flight under the claim that this future came from as its leader."""
        flight = self._flights.get(key)
        return flight is not None and flight[0] is future

    @property
    def joins(self) -> int:
        """Keys which were answered by another call's computation."""
        return self._joins

    @property
    def in_flight(self) -> int:
        """Keys being computed now."""
        return len(self._flights)
