"""One tier as the cascade sees it: embeddings from the cache, and what is missing from the tier, once."""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.errors import LeaderGone
from cache.single_flight import SingleFlight
from cache.two_level import EmbeddingCache, Entry, Lookup, Stored
from router.deadline import Deadline
from router.errors import ApiError, DeadlineExceeded, InternalError, Unavailable, UnknownKey
from router.items import Item
from router.space import Space, full_name
from router.space_memory import SpaceMemory
from router.tier_calls import TierCalls
from router.tier_reply import Encoded
from tiers.messages import ModelDescription, TrafficClass

FloatVector = NDArray[np.float32]
# Of lists of texts that come again and again, as matrices: some hundred lists of a hundred texts.
MATRIX_BYTES = 32 * 2**20
# How many impatient leaders in a row a patient caller outlives.
MOST_LEADERS = 20


class Embedding(NamedTuple):
    """One embedding, float32, shape (dimension,), unit length; where it came from and what it took.

    A tuple, because dozens are made per request and a frozen dataclass takes three times as long to make.
    """

    vector: FloatVector
    token_count: int
    is_hit: bool
    queue_ms: float = 0.0


class Embedder:
    """Embeddings of one tier's model."""

    def __init__(
        self,
        calls: TierCalls,
        cache: EmbeddingCache,
        dtype: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._dtype = dtype
        self._clock = clock
        self._space: Space | None = None
        self._memory: SpaceMemory | None = None
        # A live request never waits for what was asked at warm-up's pace.
        self._flights: dict[TrafficClass, SingleFlight[Embedding]] = {"live": SingleFlight(), "warm_up": SingleFlight()}
        self._answers: dict[tuple[TrafficClass, bytes], asyncio.Future[Encoded]] = {}

    @property
    def calls(self) -> TierCalls:
        """The way to the tier."""
        return self._calls

    @property
    def description(self) -> ModelDescription | None:
        """The tier's model, or None before the tier has come up."""
        return self._space.description if self._space else None

    @property
    def memory(self) -> SpaceMemory | None:
        """What this process holds of the model's embeddings, or None before the tier has come up."""
        return self._memory if self._space else None

    @property
    def joins(self) -> int:
        """Items that were answered by another request's computation."""
        return sum(flight.joins for flight in self._flights.values())

    @property
    def model_id(self) -> str | None:
        """`id@revision` of the tier's model, or None before the tier has come up."""
        return self._space.model_id if self._space else None

    @property
    def full_name(self) -> str | None:
        """The full name of the model's space, as certificates give it, or None before the tier has come up."""
        return self._space.full_name if self._space else None

    def full_name_of(self, model: ModelDescription) -> str:
        """The full name that the tier has with some model, which may no longer be its own."""
        return full_name(model, self._dtype)

    def use(self, description: ModelDescription) -> None:
        """Take over a tier's description; a changed model is a new space of keys, so nothing old is found."""
        self._space = Space(description, self._dtype)
        self._memory = SpaceMemory(self._space, self._cache, MATRIX_BYTES)

    async def refresh(self, timeout_s: float) -> None:
        """Ask the tier for its description and use it; raises as the tier's handle does."""
        self.use(await self._calls.describe(timeout_s))

    def lookups(self, items: Sequence[Item]) -> list[Lookup]:
        """What to ask the cache for; empty while the tier's model is not known."""
        return self._space.lookups(items) if self._space else []

    def found(self, items: Sequence[Item], stored: Sequence[Stored | None]) -> list[Embedding | None]:
        """What the cache has of items, as embeddings."""
        return [None if one is None else _from_stored(one) for _, one in zip(items, stored, strict=True)]

    def lacks(self, items: Sequence[Item]) -> bool:
        """Whether the shared store said of every item, a moment ago, that it has not got its embedding."""
        return self.memory is not None and self.memory.lacks(items)

    async def cached(self, items: Sequence[Item], traffic: TrafficClass = "live") -> list[Embedding | None]:
        """What the cache has of these items. Warm-up waits for a slow store rather than embed what it has."""
        look_up = self._cache.get_many if traffic == "live" else self._cache.get_many_patiently
        return self.found(items, await look_up(self.lookups(items)) or [None] * len(items))

    async def encode(
        self, items: Sequence[Item], deadline: Deadline, traffic: TrafficClass = "live"
    ) -> list[Embedding | ApiError]:
        """Embed items that the cache has not, each once however many ask for it at the same time.

        One item's error is its result; nothing is raised. A call that is cancelled stops the work for what nobody
        else waits for.
        """
        space = self._space
        if space is None:
            return [Unavailable("the tier has not come up yet", retry_after_s=1) for _ in items]
        results, followed = await self._encode_once(space, items, deadline, traffic)
        for _ in range(MOST_LEADERS):
            # The one who led this item had less time than we have: ask anew, in the end as its leader.
            expired = [index for index in followed if isinstance(results[index], DeadlineExceeded)]
            if not expired or deadline.is_past(self._clock()):
                break
            retried, again = await self._encode_once(space, [items[index] for index in expired], deadline, traffic)
            for index, result in zip(expired, retried, strict=True):
                results[index] = result
            followed = [expired[place] for place in again]
        return results

    async def _encode_once(
        self, space: Space, items: Sequence[Item], deadline: Deadline, traffic: TrafficClass
    ) -> tuple[list[Embedding | ApiError], list[int]]:
        """Results in order, and the places of those that another call led."""
        flight = self._flights[traffic]
        claim = flight.claim(space.key(item) for item in items if item.content is not None)
        led = set(claim.led)
        leading = [item for item in items if item.content is not None and space.key(item) in led]
        self._lead(space, _unique(leading, space), deadline, traffic)
        if claim.futures:
            try:
                await asyncio.wait(claim.futures.values(), timeout=deadline.left_s(self._clock()))
            except asyncio.CancelledError:  # the client went away
                self._give_up(flight.leave(claim), traffic)
                raise
        results = [self._result(claim.futures, space.key(item)) for item in items]
        return results, [place for place, item in enumerate(items) if space.key(item) not in led]

    def _give_up(self, keys: Sequence[bytes], traffic: TrafficClass) -> None:
        for key in keys:
            answer = self._answers.get((traffic, key))
            if answer is not None:
                answer.cancel()

    def _lead(self, space: Space, items: Sequence[Item], deadline: Deadline, traffic: TrafficClass) -> None:
        flight = self._flights[traffic]
        # Between our lookup and our claim another flight may have ended: its vector is in the first level.
        found = self._cache.get_many_now(space.lookups(items))
        missing: list[Item] = []
        for item, stored in zip(items, found, strict=True):
            if stored is None:
                missing.append(item)
            else:
                flight.resolve(space.key(item), _from_stored(stored))
        if not missing:
            return
        try:
            answers = self._calls.submit(missing, deadline, traffic)
        except ApiError as error:
            for item in missing:
                flight.fail(space.key(item), error)
            return
        for item, answer in zip(missing, answers, strict=True):
            self._answers[traffic, space.key(item)] = answer
            answer.add_done_callback(functools.partial(self._land, space, item, traffic))

    def _land(self, space: Space, item: Item, traffic: TrafficClass, answer: asyncio.Future[Encoded]) -> None:
        key, flight = space.key(item), self._flights[traffic]
        if self._answers.get((traffic, key)) is answer:
            del self._answers[traffic, key]
        if answer.cancelled():
            return
        error = answer.exception()
        if error is not None:
            flight.fail(key, error if isinstance(error, ApiError) else InternalError())
            return
        encoded = answer.result()
        if encoded.revision != space.description.revision:
            # The tier was rolled to another model: what it says of itself is asked anew, nothing is cached under
            # the old model's name, and nothing is compared with what the old model has made.
            if self._space is space:
                self._space = None
            flight.fail(key, Unavailable("the tier's model has just changed", retry_after_s=1))
            return
        self._cache.put([Entry(key, encoded.vector, item.length or 0, encoded.token_count)])
        flight.resolve(key, Embedding(encoded.vector, encoded.token_count, is_hit=False, queue_ms=encoded.queue_ms))

    def _result(self, futures: dict[bytes, asyncio.Future[Embedding]], key: bytes) -> Embedding | ApiError:
        future = futures.get(key)
        if future is None:
            return UnknownKey("this content key is unknown or evicted; send the bytes again")
        if not future.done():
            return DeadlineExceeded("the deadline passed while the tier was working")
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, LeaderGone):
            return Unavailable("the service is stopping")
        return error if isinstance(error, ApiError) else InternalError()


def _unique(items: Sequence[Item], space: Space) -> list[Item]:
    return list({space.key(item): item for item in items}.values())


def _from_stored(stored: Stored) -> Embedding:
    return Embedding(stored.vector, stored.token_count, is_hit=True)
