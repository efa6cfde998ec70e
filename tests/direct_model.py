"""The demo models called directly through open_clip: what the service's embeddings are measured against."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

MODELS = Path(__file__).resolve().parents[1] / "demo" / "models"
Matrix = NDArray[np.float32]


class DirectModel:
    """One demo model, its own transform and tokenizer."""

    def __init__(self, tier: str) -> None:
        name = f"local-dir:{MODELS / tier}"
        self._model, _, self._transform = open_clip.create_model_and_transforms(name)
        self._model.eval()
        self._tokenize = open_clip.get_tokenizer(name, bpe_path=str(MODELS / "bpe_vocab.txt.gz"))

    @torch.inference_mode()
    def images(self, files: list[bytes]) -> Matrix:
        """Embeddings of encoded pictures, shape (files, dimension), unit length."""
        batch = torch.stack([self._transform(Image.open(io.BytesIO(data))) for data in files])
        return _array(self._model.encode_image(batch, normalize=True))

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Matrix:
        """Embeddings of texts, shape (texts, dimension), unit length."""
        return _array(self._model.encode_text(self._tokenize(texts), normalize=True))


def _array(rows: Any) -> Matrix:
    array: Matrix = rows.numpy()
    return array
