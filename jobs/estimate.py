"""What a warm-up would take: time from a sample of its texts, memory from what an embedding takes in Redis. Pure."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

SAMPLE = 256
SEED = 1
# docs/redis.md: what Redis has beside the value, and jemalloc's sizes, four to each power of two.
KEY_BYTES = 107
HEAD_BYTES = 32
NUMBER_BYTES = {"float32": 4, "float16": 2, "int8": 1}
DType = Literal["float32", "float16", "int8"]


def entry_bytes(dimension: int, dtype: str) -> int:
    """Return the bytes of Redis' memory that one embedding takes, key and overhead included."""
    value = HEAD_BYTES + dimension * NUMBER_BYTES[dtype]
    step = 1 << max(4, value.bit_length() - 3)
    return KEY_BYTES + -(-value // step) * step


@dataclass(slots=True)
class Sample:
    """So many of the texts of a stream, each with the same chance."""

    size: int = SAMPLE
    texts: list[str] = field(default_factory=list)
    seen: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - a sample, no secret

    def add(self, texts: Iterable[str]) -> None:
        """Let these texts take part."""
        for text in texts:
            self.seen += 1
            place = self.seen - 1 if len(self.texts) < self.size else self._chance.randrange(self.seen)
            if len(self.texts) < self.size:
                self.texts.append(text)
            elif place < self.size:
                self.texts[place] = text


def remaining_s(seconds: float, sampled: int, texts: int, texts_per_s: float | None) -> float:
    """Return what all texts will take where so many of them took these seconds, and no more a second are wanted."""
    by_sample = seconds * texts / sampled if sampled else 0.0
    return max(by_sample, texts / texts_per_s) if texts_per_s else by_sample
