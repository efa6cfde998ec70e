"""One open_clip model: loading, preprocessing, encoding. The only file that knows torch and open_clip."""

import gzip
import json
import logging
import warnings
from collections.abc import Callable, Sequence
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
from tiers.text_tower import TextTower
from tiers.tokenizer import TokenizedText, choose_tokenizer
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

logger = logging.getLogger(__name__)
RANDOM_WEIGHTS_SEED = 0
# Texts of different lengths, on which cutting a batch to its longest text has to prove itself exact.
CUT_PROBES = ("a", "a red circle", "two small blue squares left of a big yellow star")


class Encoder:
    """A loaded model. Preprocessing is thread-safe; encoding belongs to one thread at a time.

    `text_tower` says whether batches of texts are cut to their longest.
    """

    def __init__(self, config: ModelConfig, limits: ImageLimits) -> None:
        torch.set_num_threads(config.threads)
        self._device = torch.device(config.device)
        self._limits = limits
        self._model, self._transform, tokenizer = _load(config)
        self._tokenizer = choose_tokenizer(tokenizer)
        # The tokenizer's context and not the model's word for it: of Hugging Face's text towers that is another length.
        context_length = len(self._tokenizer.tokenize("").ids)
        self.description = _describe(config, self._model, context_length)
        self.text_tower = TextTower(self._model, self._device)
        self.text_tower.prove_cut([self.prepare_text(text) for text in CUT_PROBES], config.precision)

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
        """Tokenize one text: ids of the length of the model's context, and the count before any cut.

        Raises:
            BadItem: A word is too long for a tokenizer that open_clip's has to be kept for.
        """
        return self._tokenizer.tokenize(text)

    @torch.inference_mode()
    def encode_images(self, pictures: Sequence[torch.Tensor]) -> FloatMatrix:
        """Embed prepared pictures: float32, shape (pictures, dimension), unit length."""
        batch = torch.stack(tuple(pictures)).to(self._device, self._input_dtype, non_blocking=True)
        return _to_numpy(self._model.encode_image(batch, normalize=True))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[TokenizedText]) -> FloatMatrix:
        """Embed tokenized texts: float32, shape (texts, dimension), unit length."""
        return _to_numpy(self.text_tower.encode(texts))

    def answer_canary(self) -> FloatMatrix:
        """Embed a picture and a text that are always the same: float32, shape (2, dimension), unit length."""
        height, width = self.description.image_size
        ramp = torch.linspace(-1.0, 1.0, 3 * height * width).reshape(3, height, width)
        return np.concatenate([self.encode_images([ramp]), self.encode_texts([self.prepare_text(CUT_PROBES[-1])])])

    def free_memory_share(self) -> float | None:
        """Share of the GPU's memory that is free, 0 to 1; None on a CPU."""
        if self._device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self._device)
        return float(free / total)

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


def _load(config: ModelConfig) -> tuple[Any, Callable[[Image.Image], torch.Tensor], Any]:
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


def _describe(config: ModelConfig, model: Any, context_length: int) -> ModelDescription:
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"] if not isinstance(preprocess["size"], int) else (preprocess["size"],) * 2
    bias = getattr(model, "logit_bias", None)
    return ModelDescription(
        model=config.name or _default_name(config),
        revision=_revision(model, config),
        preprocessing=_preprocessing_version(preprocess),
        precision=config.precision,
        dimension=_dimension(model, config, context_length),
        logit_scale=model.logit_scale.exp().item(),
        logit_bias=0.0 if bias is None else bias.item(),
        has_sigmoid=bias is not None,
        context_length=context_length,
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
def _dimension(model: Any, config: ModelConfig, context_length: int) -> int:
    ids = torch.zeros(1, context_length, dtype=torch.long, device=config.device)
    return int(model.encode_text(ids).shape[-1])
