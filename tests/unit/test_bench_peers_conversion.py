"""open_clip's weights, configuration and tokenizer as transformers loads them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.peers.clip_for_transformers import (
    END,
    START,
    configuration,
    converted,
    preprocessor,
    vocabulary_of,
    write_folder,
)

MODEL: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    "image_mean": (0.4, 0.5, 0.6),
    "image_std": (0.1, 0.2, 0.3),
}


class SmallTokenizer:
    """What the conversion reads of open_clip's tokenizer, with one merge."""

    sot_token_id, eot_token_id = 3, 4

    def __init__(self) -> None:
        self.encoder = {"a": 0, "b</w>": 1, "ab</w>": 2, "<start_of_text>": 3, "<end_of_text>": 4}
        self.bpe_ranks = {("a", "b</w>"): 0}


def test_one_input_projection_becomes_query_key_and_value() -> None:
    """In that order, a third each."""
    rows = torch.arange(6.0).reshape(6, 1)

    found = dict(converted({"transformer.resblocks.3.attn.in_proj_weight": rows}))

    prefix = "text_model.encoder.layers.3.self_attn"
    assert {name: tensor.flatten().tolist() for name, tensor in found.items()} == {
        f"{prefix}.q_proj.weight": [0, 1],
        f"{prefix}.k_proj.weight": [2, 3],
        f"{prefix}.v_proj.weight": [4, 5],
    }


@pytest.mark.parametrize("name", ["visual.proj", "text_projection"])
def test_projections_are_transposed(name: str) -> None:
    """open_clip multiplies from the right, transformers has a linear layer."""
    ((_, tensor),) = converted({name: torch.tensor([[1.0, 2.0], [3.0, 4.0]])})

    assert tensor.tolist() == [[1, 3], [2, 4]]
    assert tensor.is_contiguous()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("visual.transformer.resblocks.0.ln_2.bias", "vision_model.encoder.layers.0.layer_norm2.bias"),
        ("transformer.resblocks.11.mlp.c_proj.weight", "text_model.encoder.layers.11.mlp.fc2.weight"),
        ("visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"),
        ("ln_final.bias", "text_model.final_layer_norm.bias"),
        ("logit_scale", "logit_scale"),
    ],
)
def test_weights_have_transformers_names(name: str, expected: str) -> None:
    """Vision and text have the same parts under different heads."""
    assert [found for found, _ in converted({name: torch.zeros(2)})] == [expected]


def test_configuration_keeps_activation_and_the_whole_context() -> None:
    """Plain GELU unless the model says otherwise; without a length on top, Infinity cuts texts at 20 tokens."""
    document = configuration(MODEL)

    assert document["max_length"] == 77
    assert document["text_config"]["hidden_act"] == document["vision_config"]["hidden_act"] == "gelu"
    assert document["text_config"]["eos_token_id"] == 49407
    assert configuration({**MODEL, "quick_gelu": True})["text_config"]["hidden_act"] == "quick_gelu"
    assert preprocessor(MODEL)["image_mean"] == [0.4, 0.5, 0.6]


def test_vocabulary_keeps_numbers_and_names_the_special_tokens_as_clip_does() -> None:
    """Merges are in the order of their rank."""
    vocabulary, merges = vocabulary_of(SmallTokenizer())

    assert vocabulary == {"a": 0, "b</w>": 1, "ab</w>": 2, START: 3, END: 4}
    assert merges == ["a b</w>"]


def test_folder_has_every_file_that_transformers_reads(tmp_path: Path) -> None:
    """Weights, configuration, preprocessing and tokenizer."""
    write_folder(tmp_path, {"logit_scale": torch.tensor(2.0)}, MODEL, SmallTokenizer())

    assert load_file(tmp_path / "model.safetensors")["logit_scale"].item() == 2.0
    assert (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines() == ["#version: 0.2", "a b</w>"]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))["model_max_length"] == 77
