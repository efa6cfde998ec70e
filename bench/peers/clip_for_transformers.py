"""open_clip's ViT-B-32 as a folder that transformers (and so Infinity) loads: the same weights under other names."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

START, END = "<|startoftext|>", "<|endoftext|>"
# What a name begins with at open_clip, and at transformers.
_PARTS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.proj": "visual_projection.weight",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
_INSIDE_A_LAYER = {
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
_TRANSPOSED = ("visual.proj", "text_projection")
_QUERY_KEY_VALUE = ".attn.in_proj_"


def write_folder(folder: Path, state: Mapping[str, torch.Tensor], model: Mapping[str, Any], tokenizer: Any) -> None:
    """Write everything that transformers needs.

    Args:
        folder: Where to.
        state: open_clip's state dict.
        model: open_clip's configuration of the architecture, with `image_mean` and `image_std`.
        tokenizer: open_clip's `SimpleTokenizer`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(converted(state)), folder / "model.safetensors", {"format": "pt"})
    vocabulary, merges = vocabulary_of(tokenizer)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    documents = {
        "config.json": configuration(model),
        "preprocessor_config.json": preprocessor(model),
        "tokenizer_config.json": tokenizer_configuration(model),
        "special_tokens_map.json": {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END},
        "vocab.json": vocabulary,
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def converted(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each weight under transformers' name; query, key and value are three there and one at open_clip."""
    for name, tensor in state.items():
        if _QUERY_KEY_VALUE in name:
            before, _, kind = _renamed(name).partition(_QUERY_KEY_VALUE)
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{before}.self_attn.{part}_proj.{kind}", rows.contiguous()
        else:
            yield _renamed(name), (tensor.T if name in _TRANSPOSED else tensor).contiguous()


def configuration(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config.json`.

    `max_length` is said on the top level because Infinity cuts texts there, and transformers' default is 20 tokens.
    """
    vision, text = model["vision_cfg"], model["text_cfg"]
    shared = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu", "layer_norm_eps": 1e-5}
    tokens = {"bos_token_id": text["vocab_size"] - 2, "eos_token_id": text["vocab_size"] - 1}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model["embed_dim"],
        "max_length": text["context_length"],
        "torch_dtype": "float32",
        "text_config": {
            "model_type": "clip_text_model",
            "hidden_size": text["width"],
            "intermediate_size": 4 * text["width"],
            "num_attention_heads": text["heads"],
            "num_hidden_layers": text["layers"],
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "projection_dim": model["embed_dim"],
            "pad_token_id": text["vocab_size"] - 1,
            **tokens,
            **shared,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": vision["width"],
            "intermediate_size": 4 * vision["width"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "num_hidden_layers": vision["layers"],
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "projection_dim": model["embed_dim"],
            **shared,
        },
    }


def preprocessor(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return `preprocessor_config.json`: shorter side to the model's size, bicubic, the middle, mean and deviation."""
    size = model["vision_cfg"]["image_size"]
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(model["image_mean"]),
        "image_std": list(model["image_std"]),
    }


def tokenizer_configuration(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tokenizer_config.json`."""
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": model["text_cfg"]["context_length"],
        "do_lower_case": True,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "errors": "replace",
    }


def vocabulary_of(tokenizer: Any) -> tuple[dict[str, int], list[str]]:
    """Return the numbers of all tokens, and the merges by rank; the two special tokens have CLIP's own names."""
    special = {tokenizer.sot_token_id: START, tokenizer.eot_token_id: END}
    vocabulary = {special.get(number, token): number for token, number in tokenizer.encoder.items()}
    ranked = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    return vocabulary, [" ".join(pair) for pair in ranked]


def _renamed(name: str) -> str:
    """Return transformers' name of a weight; what is inside query, key and value stays as it is."""
    for mark, other in _PARTS.items():
        if name.startswith(mark):
            name = other + name.removeprefix(mark)
            break
    for mark, other in _INSIDE_A_LAYER.items():
        name = name.replace(mark, other)
    return name
