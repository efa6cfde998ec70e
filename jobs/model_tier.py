"""A tier that no service runs yet, warmed in this process: its embeddings go where its routers will look."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, Protocol, TypeVar

from cache.two_level import EmbeddingCache, Entry
from jobs.errors import CacheFailed
from jobs.warmup import Report
from router.errors import ApiError
from router.items import Item, ItemReader
from router.space import Space
from tiers.errors import BadItem
from tiers.messages import FloatMatrix, ModelDescription

FLUSH_S = 60.0


class Tokenized(Protocol):
    """A text as a model takes it."""

    @property
    def token_count(self) -> int:
        """Its tokens before any cut."""
        ...


Text = TypeVar("Text", bound=Tokenized)


class TextEncoder(Protocol[Text]):
    """The part of a model that embeds texts."""

    description: ModelDescription

    def prepare_text(self, text: str) -> Text:
        """Tokenize one text; raises BadItem."""
        ...

    def encode_texts(self, texts: Sequence[Text]) -> FloatMatrix:
        """Embed tokenized texts."""
        ...


class Batch(NamedTuple):
    """Items that were embedded together, those of them that could be."""

    entries: list[Entry]
    failed: dict[int, str]


class ModelTier(Generic[Text]):
    """Embeds what the cache has not with a model of its own, and keeps it under the model's keys."""

    def __init__(
        self,
        tier: str,
        encoder: TextEncoder[Text],
        cache: EmbeddingCache,
        reader: ItemReader,
        *,
        dtype: str,
        batch: int,
    ) -> None:
        self.tier = tier
        self._encoder = encoder
        self._cache = cache
        self._reader = reader
        self._space = Space(encoder.description, dtype)
        self._batch = batch
        # One thread, always the same: few models can be run by several.
        self._thread = ThreadPoolExecutor(1, f"encode-{tier}")

    @property
    def dimension(self) -> int:
        """Numbers of an embedding."""
        return self._space.description.dimension

    async def warm(self, texts: Sequence[str], report: Report) -> Mapping[int, str]:
        """Embed what the cache has not; return what can't be embedded, with the reasons.

        Raises:
            CacheFailed: The cache does not keep what it is given.
        """
        items, failed = self._read(texts)
        stored = await self._cache.get_many_patiently([self._space.lookup(item) for item in items.values()])
        missing = [place for place, found in zip(items, stored, strict=True) if found is None]
        report(cached=len(items) - len(missing), rejected=len(failed))
        for start in range(0, len(missing), self._batch):
            places = missing[start : start + self._batch]
            batch = await self._encode({place: items[place] for place in places})
            self._cache.put(batch.entries)
            failed |= batch.failed
            report(embedded=len(batch.entries), rejected=len(batch.failed))
        await self._check_kept()
        return failed

    def _read(self, texts: Sequence[str]) -> tuple[dict[int, Item], dict[int, str]]:
        items: dict[int, Item] = {}
        failed: dict[int, str] = {}
        for place, text in enumerate(texts):
            try:
                items[place] = self._reader.read(text, "text", "text")
            except ApiError as error:
                failed[place] = error.message
        return items, failed

    async def _encode(self, items: dict[int, Item]) -> Batch:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encode_now, items)

    def _encode_now(self, items: dict[int, Item]) -> Batch:
        prepared: dict[int, Text] = {}
        failed: dict[int, str] = {}
        for place, item in items.items():
            try:
                prepared[place] = self._encoder.prepare_text(str(item.content))
            except BadItem as error:
                failed[place] = error.message
        if not prepared:
            return Batch([], failed)
        rows = self._encoder.encode_texts(list(prepared.values()))
        entries = [
            Entry(self._space.key(items[place]), row, items[place].length or 0, text.token_count)
            for (place, text), row in zip(prepared.items(), rows, strict=True)
        ]
        return Batch(entries, failed)

    async def _check_kept(self) -> None:
        is_flushed = await self._cache.flush(FLUSH_S)
        counts = self._cache.counts()
        if not is_flushed or counts.dropped_writes or counts.shared.dropped_writes:
            raise CacheFailed(
                "the shared cache does not keep what it is given; run the same command again when it does"
            )
