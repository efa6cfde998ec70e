"""The one model that all serve: open_clip's ViT-B-32 with seeded random weights, on disk for each of them."""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.peers.clip_for_transformers import write_folder
from tiers.encoder import RANDOM_WEIGHTS_SEED
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

ARCHITECTURE = "ViT-B-32"
WEIGHTS = "model/open_clip.safetensors"
FOR_TRANSFORMERS = "model/transformers"


def write_model(folder: Path) -> None:
    """Draw the weights and write them as open_clip and as transformers load them."""
    logging.disable(logging.WARNING)  # open_clip warns of random weights
    torch.manual_seed(RANDOM_WEIGHTS_SEED)
    model, _, _ = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=None)
    logging.disable(logging.NOTSET)
    state: dict[str, torch.Tensor] = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (folder / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS)
    preprocess: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
    described = {
        **open_clip.get_model_config(ARCHITECTURE),
        "image_mean": preprocess["mean"],
        "image_std": preprocess["std"],
    }
    write_folder(folder / FOR_TRANSFORMERS, state, described, open_clip.SimpleTokenizer())
