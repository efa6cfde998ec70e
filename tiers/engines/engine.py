"""What runs a model's two towers: one small interface, several implementations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from tiers.text_tower import TextTower


class Engine(Protocol):
    """A loaded model, ready to run. It belongs to one thread at a time, unless `is_concurrent`.

    `text_tower` encodes tokenized texts. `holds_model` says whether the engine still runs on torch's weights; where
    it does not, whoever loaded them may let them go.
    """

    text_tower: TextTower
    holds_model: bool
    is_concurrent: bool

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Embed prepared pictures.

        Args:
            batch: float32 on the CPU, shape (pictures, 3, height, width), of any number of pictures.

        Returns:
            Not of unit length yet: shape (pictures, dimension), in the engine's number format, on its device.
        """

    def warm_up(self) -> None:
        """Compile or capture whatever a later call would otherwise wait for.

        Raises:
            RuntimeError: The engine can't compile or run here.
        """


@dataclass(frozen=True, slots=True)
class Shapes:
    """What one item of a batch is: a picture's (3, height, width), and how many ids a padded text has."""

    picture: tuple[int, int, int]
    context_length: int


class PaddedTexts:
    """What a `TextTower` takes in place of a model, for an engine whose texts have the full context's length."""

    def __init__(self, encode_ids: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._encode_ids = encode_ids

    def encode_text(self, ids: torch.Tensor, *, normalize: bool) -> torch.Tensor:
        """Embed ids, int64, shape (texts, length): shape (texts, dimension)."""
        rows = self._encode_ids(ids)
        return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows


class CutTexts(PaddedTexts):
    """The same for an engine that takes texts of any length."""

    def text(self, text: torch.Tensor) -> torch.Tensor:
        """Embed ids, int64, shape (texts, length up to the context): shape (texts, dimension), of any length."""
        return self.encode_text(text, normalize=False)
