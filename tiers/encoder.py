"""One open_clip model: loading, preprocessing, encoding. The only file that knows torch and open_clip."""

import gzip
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from tiers.config import BatchConfig, ImageLimits, ModelConfig
from tiers.engines.choice import open_engine
from tiers.engines.eager import stack_pictures
from tiers.engines.engine import Shapes
from tiers.errors import ModelUnavailable
from tiers.images import PREPROCESSING_VERSION
from tiers.messages import FloatMatrix, ModelDescription
from tiers.tokenizer import TokenizedText, choose_tokenizer
from tiers.torchvision_shim import import_torchvision
from tiers.transform import ImageTransform, choose_transform, grey_pictures
from tiers.weights import map_weights

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

logger = logging.getLogger(__name__)
RANDOM_WEIGHTS_SEED = 0
# Texts of different lengths, on which cutting a batch to its longest text has to prove itself exact.
CUT_PROBES = ("a", "a red circle", "two small blue squares left of a big yellow star")
ANY_BATCH = BatchConfig()


class Encoder:
    """A loaded model. Preprocessing is thread-safe; so is encoding where `is_concurrent`, else it is one thread's.

    `text_tower` says whether batches of texts are cut to their longest, `engine_cosine` how near the engine's
    embeddings are to torch's.
    """

    def __init__(self, config: ModelConfig, limits: ImageLimits, batch: BatchConfig = ANY_BATCH) -> None:
        torch.set_num_threads(config.threads)
        self._device = torch.device(config.device)
        self._limits = limits
        model, self._transform, tokenizer = _load(config)
        self._tokenizer = choose_tokenizer(tokenizer)
        # The tokenizer's context and not the model's word for it: of Hugging Face's text towers that is another length.
        context_length = len(self._tokenizer.tokenize("").ids)
        self.description = _describe(config, model, context_length)
        self._engine, self.engine_cosine = open_engine(
            config,
            model,
            shapes=Shapes((3, *self.description.image_size), context_length),
            batch=batch,
            texts=[self.prepare_text(text) for text in CUT_PROBES],
        )
        self.text_tower = self._engine.text_tower
        self._model: Any = model if self._engine.holds_model else None

    def prepare_image(self, data: bytes) -> torch.Tensor:
        """Decode and transform one encoded image: float32 tensor, shape (3, height, width).

        Raises:
            BadItem: The picture is over a limit, of an unknown format, or corrupt.
        """
        return self._transform.prepare(data, self._limits)

    def prepare_text(self, text: str) -> TokenizedText:
        """Tokenize one text: ids of the length of the model's context, and the count before any cut.

        Raises:
            BadItem: A word is too long for a tokenizer that open_clip's has to be kept for.
        """
        return self._tokenizer.tokenize(text)

    @torch.inference_mode()
    def encode_images(self, pictures: Sequence[torch.Tensor]) -> FloatMatrix:
        """Embed prepared pictures: float32, shape (pictures, dimension), unit length."""
        return _to_numpy(self._engine.encode_images(stack_pictures(tuple(pictures), self._device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[TokenizedText]) -> FloatMatrix:
        """Embed tokenized texts: float32, shape (texts, dimension), unit length."""
        return _to_numpy(self.text_tower.encode(texts))

    @property
    def is_concurrent(self) -> bool:
        """Whether several threads may encode at the same time."""
        return self._engine.is_concurrent

    @staticmethod
    def use_threads(threads: int) -> None:
        """Set how many threads the calling thread's further encoding takes."""
        torch.set_num_threads(threads)

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
        pictures = [self._transform.prepare(data, ImageLimits()) for data in grey_pictures()]
        self.encode_images(pictures[:1])
        self.encode_texts([self.prepare_text("a grey picture")])


def _to_numpy(rows: torch.Tensor) -> FloatMatrix:
    rows = torch.nn.functional.normalize(rows.float(), dim=-1)
    array: FloatMatrix = rows.cpu().numpy()
    return array


def _load(config: ModelConfig) -> tuple[Any, ImageTransform, Any]:
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
    map_weights(model, config)
    return model, choose_transform(open_clip.get_model_preprocess_cfg(model), transform), tokenizer


def _describe(config: ModelConfig, model: Any, context_length: int) -> ModelDescription:
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = preprocess["size"] if not isinstance(preprocess["size"], int) else (preprocess["size"],) * 2
    bias = getattr(model, "logit_bias", None)
    return ModelDescription(
        model=config.name or _default_name(config),
        revision=_revision(model, config),
        preprocessing=_preprocessing_version(preprocess),
        precision=config.number_format,
        dimension=_dimension(model, config, context_length),
        logit_scale=model.logit_scale.exp().item(),
        logit_bias=0.0 if bias is None else bias.item(),
        has_sigmoid=bias is not None,
        context_length=context_length,
        image_size=(int(size[0]), int(size[1])),
        is_matryoshka=config.matryoshka,
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
