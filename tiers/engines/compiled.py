"""The `torch-compile` engine: towers compiled for batches of few sizes; on a GPU each a captured CUDA graph."""

from typing import Any

import torch
import torch._dynamo

from tiers.config import BatchConfig, Precision
from tiers.engines.buckets import buckets_up_to, run_in_buckets
from tiers.engines.cuda_graphs import CapturedRuns, Run
from tiers.engines.eager import NUMBER_FORMATS, to_device
from tiers.engines.engine import PaddedTexts, Shapes
from tiers.text_tower import TextTower

# Torch's own bound is 8, past which it no longer compiles and does not say so; 4096 texts are 13 buckets.
MOST_COMPILATIONS = 64


class CompiledEngine:
    """Compiles when it warms up and never later: every batch is cut or padded to sizes that have been compiled.

    On a CPU only the image tower is compiled: texts are faster at their own lengths, of which there are too many.
    """

    holds_model = True
    is_concurrent = False

    def __init__(
        self, model: Any, device: torch.device, precision: Precision, *, shapes: Shapes, batch: BatchConfig
    ) -> None:
        self._device = device
        self._dtype = NUMBER_FORMATS[precision]
        self._shapes = shapes
        self._is_gpu = device.type == "cuda"
        self._image_buckets = buckets_up_to(batch.max_images)
        self._text_buckets = buckets_up_to(batch.max_texts) if self._is_gpu else ()
        self._images = self._compile(model.encode_image)
        self._texts = self._compile(model.encode_text)
        self.text_tower = TextTower(PaddedTexts(self._encode_ids) if self._is_gpu else model, device)

    @torch.inference_mode()
    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Embed prepared pictures: not of unit length."""
        pictures = to_device(batch, self._device, self._dtype)
        return run_in_buckets(self._images, pictures, self._image_buckets, pads=self._is_gpu)

    def warm_up(self) -> None:
        """Compile every size of batch, the largest first: its memory then serves the smaller ones.

        Raises:
            RuntimeError: There is no compiler, or it can't compile this model.
        """
        with torch._dynamo.config.patch(recompile_limit=MOST_COMPILATIONS):  # noqa: SLF001 - there is no public way
            for count in reversed(self._image_buckets):
                self.encode_images(torch.zeros(count, *self._shapes.picture))
            for count in reversed(self._text_buckets):
                ids = torch.zeros(count, self._shapes.context_length, dtype=torch.long)
                self._encode_ids(ids.to(self._device))

    @torch.inference_mode()
    def _encode_ids(self, ids: torch.Tensor) -> torch.Tensor:
        return run_in_buckets(self._texts, ids, self._text_buckets, pads=True)

    def _compile(self, run: Run) -> Run:
        compiled: Run = torch.compile(run, dynamic=False)
        return CapturedRuns(compiled, self._device) if self._is_gpu else compiled
