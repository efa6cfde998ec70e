"""CLIP on BentoML, as its users write it. Runs in BentoML's environment: `bentoml serve MODULE:Clip`."""

import base64
import io
import os

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tiers.torchvision_shim import import_torchvision

import_torchvision()
import bentoml  # noqa: E402 - torchvision has to be importable first
import open_clip  # noqa: E402

WEIGHTS_VARIABLE = "CLIP_WEIGHTS"
MAX_BATCH = 32
MAX_LATENCY_MS = 60_000


@bentoml.service(workers=1, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class Clip:
    """Embeds texts and images, each in batches across callers."""

    def __init__(self) -> None:
        weights = os.environ[WEIGHTS_VARIABLE]
        model, _, self._transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=weights)
        self._model = model.eval()
        self._tokenizer = open_clip.get_tokenizer("ViT-B-32")

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)  # type: ignore[untyped-decorator]
    @torch.inference_mode()
    def text(self, texts: list[str]) -> NDArray[np.float32]:
        """Embed texts."""
        rows: NDArray[np.float32] = self._model.encode_text(self._tokenizer(texts), normalize=True).numpy()
        return rows

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)  # type: ignore[untyped-decorator]
    @torch.inference_mode()
    def image(self, images: list[str]) -> NDArray[np.float32]:
        """Embed images, which come as base64."""
        opened = [Image.open(io.BytesIO(base64.b64decode(image))) for image in images]
        pictures = torch.stack([self._transform(image) for image in opened])
        rows: NDArray[np.float32] = self._model.encode_image(pictures, normalize=True).numpy()
        return rows
