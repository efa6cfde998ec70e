"""One open_clip model: loading, preprocessing, encoding. The only file that knows torch and open_clip."""

import gzip
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image

from tiers.config import ImageLimits, ModelConfig
from tiers.errors import BadItem, ModelUnavailable
from tiers.images import PREPROCESSING_VERSION, open_image
from tiers.messages import FloatMatrix, ModelDescription
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

logger = logging.getLogger(__name__)
# SimpleTokenizer is quadratic in a word's length (16,000 letters: 10 s). At 256 bytes a text of the longest words costs
# what a text of ordinary ones does.
MAX_WORD_BYTES = 256
RANDOM_WEIGHTS_SEED = 0


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as token ids, padded to the model's context, and how many it had before any cut."""

    ids: torch.Tensor
    token_count: int


class Encoder:
    """A loaded model. Preprocessing is thread-safe; encoding belongs to one thread at a time."""

    def __init__(self, config: ModelConfig, limits: ImageLimits) -> None:
        torch.set_num_threads(config.threads)
        self._device = torch.device(config.device)
        self._limits = limits
        self._model, self._transform, self._tokenizer = _load(config)
        self.description = _describe(config, self._model)

    def prepare_image(self, data: bytes) -> torch.Tensor:
        """Decode and transform one encoded image: float32 tensor, shape (3, height, width).

        Raises:
            BadItem: The picture is over a limit, of an unknown format, or corrupt.
        """
        image = open_image(data, self._limits)
        try:
            return self._transform(image)
        except (OSError, ValueError, RuntimeError, SyntaxError) as error:
            raise BadItem("bad_image", "picture can't be converted to RGB") from error

    def prepare_text(self, text: str) -> TokenizedText:
        """Tokenize one text to the model's context length.

        Raises:
            BadItem: A word is longer than the tokenizer handles in bounded time.
        """
        clean = text.encode("utf-8", "replace").decode("utf-8")
        if any(len(word.encode()) > MAX_WORD_BYTES for word in clean.split()):
            raise BadItem("too_large", f"a word is longer than {MAX_WORD_BYTES} bytes")
        ids = self._tokenizer([clean])[0]
        return TokenizedText(ids, _count_tokens(self._tokenizer, clean, ids))

    @torch.inference_mode()
    def encode_images(self, pictures: Sequence[torch.Tensor]) -> FloatMatrix:
        """Embed prepared pictures: float32, shape (pictures, dimension), unit length."""
        batch = torch.stack(tuple(pictures)).to(self._device, self._input_dtype, non_blocking=True)
        return _to_numpy(self._model.encode_image(batch, normalize=True))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[TokenizedText]) -> FloatMatrix:
        """Embed tokenized texts: float32, shape (texts, dimension), unit length."""
        batch = torch.stack([text.ids for text in texts]).to(self._device, non_blocking=True)
        return _to_numpy(self._model.encode_text(batch, normalize=True))

    def warm_up(self) -> None:
        """Run both encoders once, so that the first caller does not pay for lazy initialisation."""
        height, width = self.description.image_size
        self.encode_images([self._transform(Image.new("RGB", (width, height), "grey"))])
        self.encode_texts([self.prepare_text("a grey picture")])

    @property
    def _input_dtype(self) -> torch.dtype:
        return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.description.precision, torch.float32)


def _to_numpy(rows: torch.Tensor) -> FloatMatrix:
    rows = torch.nn.functional.normalize(rows.float(), dim=-1)
    array: FloatMatrix = rows.cpu().numpy()
    return array


def _load(
    config: ModelConfig,
) -> tuple[Any, Callable[[Image.Image], torch.Tensor], Callable[[list[str]], torch.Tensor]]:
    is_random = config.pretrained == "random"
    if is_random:
        logger.warning("RANDOM WEIGHTS: %s is for benchmarks only; its answers mean nothing", config.architecture)
        torch.manual_seed(RANDOM_WEIGHTS_SEED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # open_clip warns about choices that the configuration made
            model, _, transform = open_clip.create_model_and_transforms(
                config.architecture,
                pretrained=None if is_random else config.pretrained,
                precision=config.precision,
                device=config.device,
                require_pretrained=not is_random,
            )
            bpe = {"bpe_path": config.bpe_file} if config.bpe_file else {}
            tokenizer = open_clip.get_tokenizer(config.architecture, **bpe)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        name = f"{config.architecture} {config.pretrained or ''}".strip()
        raise ModelUnavailable(f"{name}: {error}") from error
    model.eval()
    return model, transform, tokenizer


def _describe(config: ModelConfig, model: Any) -> ModelDescription:
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"] if not isinstance(preprocess["size"], int) else (preprocess["size"],) * 2
    bias = getattr(model, "logit_bias", None)
    return ModelDescription(
        model=config.name or _default_name(config),
        revision=_revision(model, config),
        preprocessing=_preprocessing_version(preprocess),
        precision=config.precision,
        dimension=_dimension(model, config),
        logit_scale=model.logit_scale.exp().item(),
        logit_bias=0.0 if bias is None else bias.item(),
        has_sigmoid=bias is not None,
        context_length=int(getattr(model, "context_length", 77)),
        image_size=(int(size[0]), int(size[1])),
    )


def _default_name(config: ModelConfig) -> str:
    if config.architecture.startswith("local-dir:"):
        return Path(config.architecture.removeprefix("local-dir:")).name
    tag = f"/{Path(config.pretrained).name}" if config.pretrained else ""
    return config.architecture.removeprefix("hf-hub:") + tag


def _revision(model: Any, config: ModelConfig) -> str:
    """Digest of what was loaded, so that equal weights have one revision wherever they came from."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    if config.bpe_file:
        digest.update(gzip.decompress(Path(config.bpe_file).read_bytes()))
    return digest.hexdigest()[:16]


def _preprocessing_version(preprocess: dict[str, object]) -> str:
    canonical = json.dumps(preprocess, sort_keys=True, default=list)
    return f"{PREPROCESSING_VERSION}-{xxhash.xxh3_64_hexdigest(canonical.encode())}"


@torch.inference_mode()
def _dimension(model: Any, config: ModelConfig) -> int:
    ids = torch.zeros(1, int(getattr(model, "context_length", 77)), dtype=torch.long, device=config.device)
    return int(model.encode_text(ids).shape[-1])


def _count_tokens(tokenizer: Callable[[list[str]], torch.Tensor], text: str, ids: torch.Tensor) -> int:
    """Tokens of a text, start and end included, also those beyond the context."""
    kept = int((ids != 0).sum())
    encode = getattr(tokenizer, "encode", None)
    if kept < len(ids) or encode is None:
        return kept
    return len(np.asarray(encode(text))) + 2
