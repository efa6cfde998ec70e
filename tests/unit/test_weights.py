"""Weights as pages of their file: less memory for each replica, and the same embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.pictures import picture
from tests.tiny_model import tiny_config, write_tiny_model
from tiers.config import ImageLimits, ModelConfig
from tiers.encoder import Encoder
from tiers.weights import LOCAL_FILE, map_weights


def write_safetensors(folder: Path, dtype: torch.dtype) -> Path:
    """Write the tiny model in the safetensors format, in a number format."""
    write_tiny_model(folder)
    binary = folder / "open_clip_pytorch_model.bin"
    weights = torch.load(binary)
    binary.unlink()
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in weights.items()}, folder / LOCAL_FILE)
    return folder


def mapped_files() -> str:
    """What this process has mapped."""
    return Path("/proc/self/maps").read_text(encoding="utf-8")


def load(folder: Path) -> Encoder:
    """Load a folder's model."""
    return Encoder(tiny_config(folder), ImageLimits())


def test_weights_are_pages_of_their_file(tmp_path: Path) -> None:
    """While the model lives, its file is mapped; the embeddings are those of a copy."""
    copied = load(write_tiny_model(tmp_path / "copied"))
    folder = write_safetensors(tmp_path / "mapped", torch.float32)
    mapped = load(folder)
    embedded = [one.encode_images([one.prepare_image(picture(1))]) for one in (copied, mapped)]

    assert str(folder / LOCAL_FILE) in mapped_files()
    assert mapped.description.revision == copied.description.revision
    np.testing.assert_allclose(embedded[0], embedded[1], atol=1e-6)


def test_weights_in_another_number_format_stay_copies(tmp_path: Path) -> None:
    """They were converted when they were loaded."""
    folder = write_safetensors(tmp_path / "half", torch.float16)

    load(folder)

    assert str(folder / LOCAL_FILE) not in mapped_files()


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(architecture="ViT-B-32", pretrained="random"),
        ModelConfig(architecture="ViT-B-32", pretrained="laion2b_s34b_b79k", device="cuda"),
        ModelConfig(architecture="local-dir:/nowhere"),
    ],
)
def test_where_there_is_no_file_to_map_nothing_is(config: ModelConfig) -> None:
    """Random weights have no file, a GPU its own memory, and a folder may hold another format."""
    assert map_weights(torch.nn.Linear(2, 2), config) == 0


def test_changed_tensor_is_not_replaced(tmp_path: Path) -> None:
    """What is computed with is what was loaded, even where the file says something else."""
    model = torch.nn.Linear(2, 2)
    file = {"weight": torch.ones(2, 2), "bias": model.bias.detach().clone()}
    save_file(file, tmp_path / LOCAL_FILE)
    before = model.weight.detach().clone()

    mapped = map_weights(model, ModelConfig(architecture=f"local-dir:{tmp_path}"))

    assert mapped == 8
    assert torch.equal(model.weight, before)
