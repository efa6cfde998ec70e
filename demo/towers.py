"""The two models: their configurations, and how they are built and stored for open_clip."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from demo.batches import CONTEXT_LENGTH
from demo.engine import open_clip
from demo.vocabulary import VOCABULARY_PATH

MODELS_PATH = Path(__file__).parent / "models"
EMBEDDING_WIDTH = 256
PIXEL_MEAN = 0.5
PIXEL_STD = 0.25


class Tier(StrEnum):
    """The two models, the cheap one and the good one."""

    FAST = "fast"
    ACCURATE = "accurate"


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """What distinguishes a model: open_clip's vision and text configuration."""

    image_size: int
    vision: dict[str, Any]
    text: dict[str, Any]
    grid: int
    """Cells per side of the feature map that the dense heads read in training."""
    dense_module: str
    """The module of the image tower whose output is that feature map."""
    dense_width: int


TOWERS: dict[Tier, TowerConfig] = {
    Tier.FAST: TowerConfig(
        image_size=32,
        vision={"layers": [1, 1, 1, 1], "width": 6},
        text={"width": 64, "heads": 2, "layers": 2},
        grid=4,
        dense_module="layer2",
        dense_width=48,
    ),
    Tier.ACCURATE: TowerConfig(
        image_size=96,
        vision={"layers": [1, 2, 2, 1], "width": 24},
        text={"width": 128, "heads": 4, "layers": 2},
        grid=6,
        dense_module="layer3",
        dense_width=384,
    ),
}


def model_config(tier: Tier) -> dict[str, Any]:
    """Give the model_cfg of open_clip's configuration file."""
    tower = TOWERS[tier]
    vocabulary_size = open_clip.SimpleTokenizer(str(VOCABULARY_PATH)).vocab_size
    return {
        "embed_dim": EMBEDDING_WIDTH,
        "vision_cfg": {"image_size": tower.image_size, **tower.vision},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary_size,
            **tower.text,
        },
    }


def preprocess_config(tier: Tier) -> dict[str, Any]:
    """Give the preprocess_cfg of open_clip's configuration file."""
    return {
        "size": TOWERS[tier].image_size,
        "mode": "RGB",
        "mean": [PIXEL_MEAN] * 3,
        "std": [PIXEL_STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }


def build(tier: Tier) -> open_clip.CLIP:
    """Build a model with fresh weights."""
    return open_clip.CLIP(**model_config(tier))


def build_for_text_stage(tier: Tier) -> open_clip.CLIP:
    """Build a model whose text tower is to be trained; its image tower is thrown away.

    The shipped text towers began beside another fast image tower than the one that ships. It draws from the seed
    before the text towers do: with it the text stage gives the shipped weights again.
    """
    config = model_config(tier)
    if tier is Tier.FAST:
        config["vision_cfg"] = {"image_size": 32, "layers": 2, "width": 96, "head_width": 48, "patch_size": 8}
    return open_clip.CLIP(**config)


def text_parameters(model: open_clip.CLIP) -> list[nn.Parameter]:
    """List the parameters of the text tower."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith("visual.") and name != "logit_scale"
    ]


def embed_texts(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Embed texts as the model does, but without the padding that none of them needs."""
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    states = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    states = model.transformer(states, attn_mask=model.attn_mask[:length, :length])
    last = model.ln_final(states)[torch.arange(len(tokens)), ends]
    return functional.normalize(last @ model.text_projection, dim=-1)


class FeatureTap:
    """Keep the feature map that the dense heads read, as (batch, cells, channels)."""

    features: torch.Tensor

    def __init__(self, model: open_clip.CLIP, tier: Tier) -> None:
        module = model.visual.get_submodule(TOWERS[tier].dense_module)
        module.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        is_map = output.ndim == 4
        self.features = output.flatten(2).transpose(1, 2) if is_map else output[:, 1:]


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Turn bytes (batch, height, width, channel) into what open_clip's transform gives."""
    scaled = (pixels.permute(0, 3, 1, 2).float() / 255.0 - PIXEL_MEAN) / PIXEL_STD
    return scaled.contiguous(memory_format=torch.channels_last)


def save(model: open_clip.CLIP, tier: Tier, models_path: Path = MODELS_PATH) -> None:
    """Write a model's directory; each file appears at once, by rename."""
    directory = models_path / tier
    directory.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    partial_path = directory / "open_clip_model.safetensors.partial"
    save_file(weights, partial_path, metadata={"format": "pt"})
    partial_path.chmod(0o644)
    config = {"model_cfg": model_config(tier), "preprocess_cfg": preprocess_config(tier)}
    partial_config_path = directory / "open_clip_config.json.partial"
    partial_config_path.write_text(json.dumps(config, indent=2) + "\n")
    partial_path.replace(directory / "open_clip_model.safetensors")
    partial_config_path.replace(directory / "open_clip_config.json")
