"""What a process that holds a model is told: which model, and what to time. Free of torch, for those who ask."""

from dataclasses import dataclass
from typing import Any, Literal

Modality = Literal["image", "text"]


@dataclass(frozen=True, slots=True)
class Setup:
    """Which model, and what it is given: encoded pictures (a file of the load generator's form) and texts."""

    model: dict[str, Any]
    batch: dict[str, int]
    pictures_file: str
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Task:
    """What to time for how long; `batches` are sizes of runs of the encoder, taken in turn."""

    kind: Literal["encode", "prepare", "alone"]
    modality: Modality
    seconds: float = 1.0
    batches: tuple[int, ...] = (1,)
