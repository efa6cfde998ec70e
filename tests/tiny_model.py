"""A real open_clip model with next to no weights, and open_clip's own answers with it."""

import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tiers.config import ModelConfig
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

MERGES = "#version: 0.2\nc a\nca t</w>"  # "cat" is one token; reading open_clip's own takes longer than all the rest
MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 516, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESSING = {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.26, 0.27]}


def write_tiny_model(folder: Path, *, seed: int = 0, **changes: object) -> Path:
    """Write a model with seeded random weights, and its merges; `changes` are of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    model = {**MODEL, **changes}
    config = {"model_cfg": model, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "merges.txt.gz").write_bytes(gzip.compress(MERGES.encode(), mtime=0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = open_clip.CLIP(**model).state_dict()
    torch.save(weights, folder / "open_clip_pytorch_model.bin")
    return folder


def tiny_config(folder: Path, **fields: object) -> ModelConfig:
    """The configuration of a model that was written to a folder."""
    document = {"architecture": f"local-dir:{folder}", "bpe_file": str(folder / "merges.txt.gz"), **fields}
    return ModelConfig.model_validate(document)


def register_tiny_architecture(folder: Path, name: str) -> None:
    """Make the model's architecture known to open_clip by a name of its own."""
    (folder / f"{name}.json").write_text(json.dumps(MODEL), encoding="utf-8")
    open_clip.add_model_config(folder)


@dataclass(frozen=True, slots=True)
class OpenClip:
    """A `local-dir:` model called through open_clip itself."""

    folder: Path
    bpe_file: Path

    @torch.inference_mode()
    def images(self, files: list[bytes]) -> NDArray[np.float32]:
        """Embeddings of encoded pictures, one run each, unit length."""
        model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{self.folder}")
        model.eval()
        pictures = [transform(Image.open(io.BytesIO(data)))[None] for data in files]
        return _stack([model.encode_image(picture, normalize=True) for picture in pictures])

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Embeddings of texts, one run each, unit length."""
        model = open_clip.create_model(f"local-dir:{self.folder}")
        model.eval()
        tokenize = open_clip.get_tokenizer(f"local-dir:{self.folder}", bpe_path=str(self.bpe_file))
        return _stack([model.encode_text(tokenize([text]), normalize=True) for text in texts])


def _stack(rows: list[torch.Tensor]) -> NDArray[np.float32]:
    array: NDArray[np.float32] = torch.cat(rows).numpy()
    return array
