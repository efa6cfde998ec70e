"""What waits of one modality for an encoder, and what of it makes the next run. Pure: the clock is an argument."""

import math
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from tiers.batch_size import BatchSize
from tiers.class_shares import ClassShares
from tiers.messages import TrafficClass
from tiers.turn_queue import TurnQueue

Item = TypeVar("Item")


class Batch(NamedTuple, Generic[Item]):
    """Items of one class for one run; none where nothing is due."""

    items: list[Item]
    traffic: TrafficClass


class BatchQueue(Generic[Item]):
    """Two classes of items, in each of which calls take turns.

    Which class is due, `shares` knows for all queues of an encoder.

    A run that warm-up has while live traffic is about is short, so that a live item never waits long for its end.
    """

    def __init__(self, max_items: int, shares: ClassShares) -> None:
        self._size = BatchSize(max_items)
        self._short_run = max(1, int(max_items * shares.share))
        self._shares = shares
        self._waiting: dict[TrafficClass, TurnQueue[Item]] = {"live": TurnQueue(), "warm_up": TurnQueue()}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def put(self, item: Item, traffic: TrafficClass, source: Hashable) -> None:
        """Add one item of a call to its class."""
        self._waiting[traffic].put(item, source)
        self._shares.arrived(traffic)

    def take(self, now: float, is_wanted: Callable[[Item], bool], parts: int = 1) -> Batch[Item]:
        """Remove the items of the next run; one that nobody wants any more is dropped and takes no place.

        With several `parts`, as many runs begin now: what waits is divided among them.
        """
        size = min(self._size.limit(now), max(1, math.ceil(len(self) / parts)))
        if self._waiting["warm_up"] and self._shares.warm_up_is_due():
            count = size if self._shares.is_quiet(now) else min(size, self._short_run)
            return Batch(self._pop("warm_up", count, now, is_wanted), "warm_up")
        return Batch(self._pop("live", size, now, is_wanted), "live")

    def ran(self, batch: Batch[Item], seconds: float, now: float) -> None:
        """Learn what a run of these items took."""
        self._size.ran(len(batch.items), seconds, now)
        self._shares.ran(batch.traffic, seconds)

    def drain(self) -> list[Item]:
        """Remove everything."""
        return [item for traffic in self._waiting for item in self._pop(traffic, len(self), 0.0, lambda _: True)]

    def _pop(self, traffic: TrafficClass, count: int, now: float, is_wanted: Callable[[Item], bool]) -> list[Item]:
        waiting = self._waiting[traffic]
        taken: list[Item] = []
        while waiting and len(taken) < count:
            item = waiting.pop()
            self._shares.left(traffic, now)
            if is_wanted(item):
                taken.append(item)
        return taken
