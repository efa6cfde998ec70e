"""The `torch` engine: the model as open_clip made it."""

from typing import Any

import torch

from tiers.config import Precision
from tiers.text_tower import TextTower

NUMBER_FORMATS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class EagerEngine:
    """Runs each operation as it comes. Takes any batch, on any device."""

    holds_model = True

    def __init__(self, model: Any, device: torch.device, precision: Precision) -> None:
        self._model = model
        self._device = device
        self._dtype = NUMBER_FORMATS[precision]
        self.is_concurrent = device.type == "cpu"
        self.text_tower = TextTower(model, device)

    @torch.inference_mode()
    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Embed prepared pictures: not of unit length."""
        rows: torch.Tensor = self._model.encode_image(to_device(batch, self._device, self._dtype))
        return rows

    def warm_up(self) -> None:
        """Do nothing: only a run needs what a run prepares, and an encoder's warm-up is one."""


def to_device(batch: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Copy a batch as it is and change its number format there, which a GPU does faster than a CPU."""
    return batch.to(device, non_blocking=True).to(dtype)


def stack_pictures(pictures: tuple[torch.Tensor, ...], device: torch.device) -> torch.Tensor:
    """Stack pictures, shape (pictures, 3, height, width), for a GPU in pinned memory, which it reads by itself.

    Torch hands pinned memory out again only when the copies from it are done.
    """
    if device.type != "cuda":
        return torch.stack(pictures)
    pinned = torch.empty((len(pictures), *pictures[0].shape), dtype=pictures[0].dtype, pin_memory=True)
    return torch.stack(pictures, out=pinned)
