"""A tier as a Ray Serve deployment: calls in, vectors out. It knows nothing of HTTP, Redis or the other tier."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ray import serve
from ray.serve.config import RequestRouterConfig

from tiers.batcher import Batcher, Row
from tiers.class_shares import ClassShares
from tiers.config import TierConfig
from tiers.encoder_slot import EncoderSlot
from tiers.errors import BadItem, ReplicaOverloaded, TierError
from tiers.health import Canary, check_free_memory
from tiers.messages import EncodeCall, EncodeReply, ItemFailure, ModelDescription, TrafficClass
from tiers.moving_mean import MovingMean
from tiers.scaling import scaling_options

if TYPE_CHECKING:
    import torch

    from tiers.tokenizer import TokenizedText


# A hop to a preparing thread and back costs as much as tokenizing ten captions.
TEXTS_PER_HOP = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """On what terms one call's items are prepared and queued; `deadline` is on the monotonic clock."""

    deadline: float
    traffic: TrafficClass
    turn: asyncio.Semaphore


class TierReplica:
    """One model behind queues of items. Images are decoded in threads, encoded in batches across callers."""

    def __init__(self, config: TierConfig) -> None:
        # Not at the top: whoever only wires deployments together would pay three seconds for torch.
        from tiers.encoder import Encoder  # noqa: PLC0415

        self._config = config
        self._encoder = Encoder(config.model, config.images, config.batch)
        self._encoder.warm_up()
        self._preparation = ThreadPoolExecutor(config.batch.preprocess_threads, "prepare")
        streams = config.model.most_streams if self._encoder.is_concurrent else 1
        self._slot = EncoderSlot(
            ThreadPoolExecutor(streams, "encode"),
            ClassShares(config.batch.warm_up_share),
            streams=streams,
            threads=config.model.threads,
            use_threads=self._encoder.use_threads if streams > 1 else None,
        )
        self._canary = Canary(self._encoder.answer_canary, self._slot, config.health)
        self._images: Batcher[torch.Tensor] | None = None
        self._texts: Batcher[TokenizedText] | None = None
        self._name = uuid.uuid4().hex
        self._preparation_s = MovingMean()
        self._admitted: dict[TrafficClass, int] = {"live": 0, "warm_up": 0}

    @property
    def held_items(self) -> int:
        """Items of calls that were admitted and are not answered yet."""
        return sum(self._admitted.values())

    async def describe(self) -> ModelDescription:
        """What a router has to know of this tier's model."""
        return self._encoder.description

    async def encode(self, call: EncodeCall) -> EncodeReply:
        """Embed a call's items; each fails alone.

        Raises:
            ReplicaOverloaded: The replica would hold more items than its bound; nothing of the call was begun.
        """
        self._admit(call)
        started = time.monotonic()
        # Few of a call's items stand in the queue of the preparing threads at once, so that calls take turns there.
        turn = asyncio.Semaphore(self._config.batch.preprocess_threads + 1)
        try:
            rows = await self._encode_items(call, _Terms(started + call.budget_s, call.traffic, turn))
        finally:
            self._admitted[call.traffic] -= len(call)
        return self._reply(call, rows, (time.monotonic() - started) * 1e3)

    async def check_health(self) -> None:
        """Fail when a loop has ended or stands still, the encoder hangs, or the model answers other than it did.

        Raises:
            TierError: The replica should be replaced.
        """
        now, health = time.monotonic(), self._config.health
        for batcher in self._batchers():
            if not batcher.is_alive:
                raise TierError("a batching loop has ended")
            if batcher.is_stuck(now, health.max_run_s):
                raise TierError("a batching loop stands still")
        since = self._slot.running_since
        if since is not None and now - since > health.max_run_s:
            raise TierError("the encoder has been busy with one batch for too long")
        check_free_memory(self._encoder.free_memory_share(), health.min_free_memory)
        self._canary.check(now)

    def _admit(self, call: EncodeCall) -> None:
        """Count a call's items; of the places, warm-up has its share, or room for one call."""
        batch, held = self._config.batch, self._admitted
        is_full = self.held_items + len(call) > batch.max_queued_items
        if call.traffic == "warm_up":
            is_full |= (
                held["warm_up"] > 0 and held["warm_up"] + len(call) > batch.max_queued_items * batch.warm_up_share
            )
        if is_full:
            raise ReplicaOverloaded(f"{self.held_items} items are waiting")
        held[call.traffic] += len(call)

    async def _encode_items(self, call: EncodeCall, terms: _Terms) -> list[tuple[Row, int] | BaseException]:
        images, texts = self._batchers()
        rows = asyncio.gather(
            *[self._encode_image(images, data, terms) for data in call.images], return_exceptions=True
        )
        slices = [call.texts[first : first + TEXTS_PER_HOP] for first in range(0, len(call.texts), TEXTS_PER_HOP)]
        encoded = await asyncio.gather(*[self._encode_texts(texts, some, terms) for some in slices])
        return [*await rows, *itertools.chain.from_iterable(encoded)]

    async def _encode_image(self, batcher: "Batcher[torch.Tensor]", data: bytes, terms: _Terms) -> tuple[Row, int]:
        loop = asyncio.get_running_loop()
        async with terms.turn:
            picture = await loop.run_in_executor(self._preparation, self._prepare_image, data, terms.deadline)
        return await batcher.submit(picture, terms.deadline, terms.traffic, terms), 0

    async def _encode_texts(
        self, batcher: "Batcher[TokenizedText]", texts: Sequence[str], terms: _Terms
    ) -> list[tuple[Row, int] | BaseException]:
        """Embed a few texts; each one's result, or its own error."""
        loop = asyncio.get_running_loop()
        async with terms.turn:
            prepared = await loop.run_in_executor(self._preparation, self._prepare_texts, texts, terms.deadline)
        waiting = [
            batcher.submit(one, terms.deadline, terms.traffic, terms)
            for one in prepared
            if not isinstance(one, BadItem)
        ]
        rows = iter(await asyncio.gather(*waiting, return_exceptions=True))
        return [one if isinstance(one, BadItem) else _with_count(next(rows), one.token_count) for one in prepared]

    def _prepare_image(self, data: bytes, deadline: float) -> "torch.Tensor":
        _refuse_expired(deadline)
        began = time.monotonic()
        picture = self._encoder.prepare_image(data)
        self._preparation_s.add(time.monotonic() - began)
        return picture

    def _prepare_texts(self, texts: Sequence[str], deadline: float) -> "list[TokenizedText | BadItem]":
        return [self._prepare_text(text, deadline) for text in texts]

    def _prepare_text(self, text: str, deadline: float) -> "TokenizedText | BadItem":
        try:
            _refuse_expired(deadline)
            return self._encoder.prepare_text(text)
        except BadItem as error:
            return error

    def _batchers(self) -> "tuple[Batcher[torch.Tensor], Batcher[TokenizedText]]":
        if self._images is None or self._texts is None:
            # Made at first use: the loops belong to the event loop that serves calls.
            batch = self._config.batch
            self._images = Batcher(self._encoder.encode_images, self._slot, max_items=batch.max_images)
            self._texts = Batcher(self._encoder.encode_texts, self._slot, max_items=batch.max_texts)
        return self._images, self._texts

    def _reply(self, call: EncodeCall, rows: list[tuple[Row, int] | BaseException], total_ms: float) -> EncodeReply:
        description = self._encoder.description
        vectors = np.zeros((len(call), description.dimension), dtype="<f4")
        failures: list[ItemFailure] = []
        token_counts = [0] * len(call)
        for index, row in enumerate(rows):
            if isinstance(row, BadItem):
                failures.append(ItemFailure(index, row.code, row.message))
            elif isinstance(row, BaseException):
                raise row
            else:
                vectors[index], token_counts[index] = row
        return EncodeReply(
            revision=description.revision,
            dimension=description.dimension,
            vectors=vectors.tobytes(),
            token_counts=tuple(token_counts[len(call.images) :]),
            failures=tuple(failures),
            encode_ms=total_ms,
            service_ms=self._service_s(call) * 1e3,
            image_ms=self._batchers()[0].item_s * 1e3,
            replica=self._name,
        )

    def _service_s(self, call: EncodeCall) -> float:
        """What an item of this call's kinds takes where nothing is before it, in seconds."""
        images, texts = self._batchers()
        image_s = self._preparation_s.value + images.run_s if call.images else 0.0
        return max(image_s, texts.run_s if call.texts else 0.0)


def tier_deployment(name: str, config: TierConfig) -> serve.Application:
    """Bind one tier: its model, resources, autoscaling, queue bounds and health checks."""
    deployment = serve.deployment(
        name=name,
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        **scaling_options(config.autoscaling, config.resources),
        health_check_period_s=config.health.period_s,
        health_check_timeout_s=config.health.timeout_s,
        graceful_shutdown_timeout_s=config.graceful_shutdown_s,
        # A model that can't be loaded can't be loaded the third time either.
        max_constructor_retry_count=1,
        # A saturated handle backs off blindly up to 500 ms by default; the router's own bounds keep this short.
        request_router_config=RequestRouterConfig(initial_backoff_s=0.002, max_backoff_s=0.01),
    )(TierReplica)
    return deployment.bind(config)


def _with_count(row: Row | BaseException, token_count: int) -> tuple[Row, int] | BaseException:
    return row if isinstance(row, BaseException) else (row, token_count)


def _refuse_expired(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise BadItem("expired", "deadline passed before encoding")
