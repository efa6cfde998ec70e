"""The text side of a model: a batch is computed at the length of its longest text where that changes nothing."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tiers.config import Precision
from tiers.tokenizer import TokenizedText

logger = logging.getLogger(__name__)
# What a component of a unit vector may differ by when only the order of additions does.
MAX_DIFFERENCE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1e-2}
# What two runs have to save of one run's positions (texts x longest text), so that starting a second one pays.
MIN_SAVED_SHARE = 0.15
MIN_SAVED_POSITIONS = 192


class TextTower:
    """Encodes tokenized texts. `cuts` says whether padding is left out, which is so only where it was proven exact."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.cuts = False
        self._cut_towers: dict[int, Any] = {}

    @torch.inference_mode()
    def encode(self, texts: Sequence[TokenizedText]) -> torch.Tensor:
        """Embed texts: shape (texts, dimension), unit length, in the model's number format and on its device."""
        ids = np.stack([text.ids for text in texts])
        if not self.cuts:
            return self._encode_padded(ids)
        lengths = np.array([text.length for text in texts])
        # A GPU's time for a small batch is that of starting its kernels: there a second run saves nothing.
        groups = group_by_length(lengths) if self._device.type == "cpu" else [np.arange(len(texts))]
        rows = torch.cat([self._encode_cut(ids[group, : lengths[group].max()]) for group in groups])
        return rows[torch.from_numpy(np.argsort(np.concatenate(groups))).to(self._device)]

    def prove_cut(self, texts: Sequence[TokenizedText], precision: Precision) -> None:
        """Cut from now on if these texts, together and each alone, have the same embeddings cut and padded.

        Whether padding is read is a matter of the model's mask and pooling, not of words: what holds for a few texts
        of different lengths holds for all.
        """
        try:
            self.cuts = False
            padded = self.encode(texts)
            self.cuts = True
            cut = torch.cat([self.encode(texts), *(self.encode([text]) for text in texts)])
            difference = (cut - padded.repeat(2, 1)).abs().max().item()
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            logger.info("text tower takes no shorter batches: %s", type(error).__name__)
            difference = float("inf")
        self.cuts = difference <= MAX_DIFFERENCE[precision]
        length = "the length of the longest text" if self.cuts else "the full context"
        logger.info("batches of texts are encoded at %s (cut and padded differ by %.1e)", length, difference)

    def _encode_padded(self, ids: NDArray[np.int64]) -> torch.Tensor:
        rows: torch.Tensor = self._model.encode_text(self._to_device(ids), normalize=True)
        return rows

    def _encode_cut(self, ids: NDArray[np.int64]) -> torch.Tensor:
        batch, length = self._to_device(ids), ids.shape[1]
        is_the_model = hasattr(self._model, "positional_embedding")
        if length not in self._cut_towers:
            self._cut_towers[length] = _cut_tower(self._model if is_the_model else self._model.text, length)
        tower = self._cut_towers[length]
        if is_the_model:
            # Beside a text's embedding it returns other things.
            output = tower(text=batch)
            rows = output["text_features"] if isinstance(output, dict) else output[1]
        else:
            rows = tower(batch)
        return torch.nn.functional.normalize(rows, dim=-1)

    def _to_device(self, ids: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(ids).to(self._device, non_blocking=True)


def group_by_length(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of the texts to encode together: all, or the shorter and the longer ones where that saves enough."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    shorter = np.arange(1, len(lengths))
    saved = shorter * (ordered[-1] - ordered[:-1])
    if saved.max(initial=0) < max(MIN_SAVED_POSITIONS, MIN_SAVED_SHARE * len(lengths) * ordered[-1]):
        return [np.arange(len(lengths))]
    return np.split(order, [shorter[saved.argmax()]])


def _cut_tower(tower: Any, length: int) -> Any:
    """A module that shares everything with `tower` but its positions and its mask, which are of this length.

    open_clip's towers add all positions to whatever they get. Towers of other libraries have none by this name, and
    take texts of any length. The module itself is left as it is: several threads may be running it.
    """
    positions, mask = getattr(tower, "positional_embedding", None), getattr(tower, "attn_mask", None)
    if positions is None and mask is None:
        return tower
    cut = copy.copy(tower)
    cut._parameters, cut._buffers = dict(tower._parameters), dict(tower._buffers)  # noqa: SLF001 - torch has no other way
    if positions is not None:
        cut.positional_embedding = _like(positions, positions[:length])
    if mask is not None:
        cut.attn_mask = mask[:length, :length]
    return cut


def _like(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """A part as what the whole is: a module takes a parameter in a parameter's place only."""
    return torch.nn.Parameter(part, requires_grad=False) if isinstance(whole, torch.nn.Parameter) else part
