"""Which engine runs a model, and the proof that it computes what torch does."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from tiers.config import BatchConfig, ModelConfig
from tiers.engines.eager import EagerEngine
from tiers.engines.engine import Engine, Shapes
from tiers.errors import ModelUnavailable
from tiers.tokenizer import TokenizedText

logger = logging.getLogger(__name__)
PROBE_PICTURES = 4
PROBE_SEED = 0
COARSE_SIDE = 6
# Only the order of additions differs; of fewer bits, and of int8, more does.
LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.995, "bf16": 0.995, "int8": 0.995}


def open_engine(
    config: ModelConfig, model: Any, *, shapes: Shapes, batch: BatchConfig, texts: Sequence[TokenizedText]
) -> tuple[Engine, float]:
    """Make the engine that the configuration names, ready to run, and prove it.

    Args:
        config: Names the engine.
        model: open_clip's, loaded, in evaluation mode.
        shapes: Of what it takes.
        batch: The largest batches that will come.
        texts: A few, of different lengths.

    Returns:
        The engine, and the least cosine of its embeddings to those of torch's own.

    Raises:
        ModelUnavailable: The engine is not installed, can't run this model, or computes something else.
    """
    device = torch.device(config.device)
    eager = EagerEngine(model, device, config.precision)
    eager.text_tower.prove_cut(texts, config.precision)
    if config.engine == "torch":
        return eager, 1.0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # compilers and exporters warn of their own ways
            engine = _make(config, model, shapes, batch)
            engine.warm_up()
        # Int8 has a scale for each run, so that a batch's neighbours move it a little: as much as fewer bits do.
        engine.text_tower.prove_cut(texts, "bf16" if config.number_format == "int8" else config.precision)
        cosine = least_cosine(engine, eager, shapes, texts)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelUnavailable(f"engine {config.engine}: {_first_line(error)}") from error
    if not cosine >= LEAST_COSINE[config.number_format]:
        least = LEAST_COSINE[config.number_format]
        raise ModelUnavailable(f"engine {config.engine}: cosine to torch is {cosine:.5f}, which is less than {least}")
    logger.info("engine %s: cosine to torch is %.6f", config.engine, cosine)
    return engine, cosine


@torch.inference_mode()
def least_cosine(engine: Engine, other: Engine, shapes: Shapes, texts: Sequence[TokenizedText]) -> float:
    """Least cosine of two engines' embeddings of random pictures and given texts, together and alone."""
    pictures = probe_pictures(shapes.picture)
    cosines = [
        torch.nn.functional.cosine_similarity(_embed(engine, pair), _embed(other, pair), dim=-1).min()
        for pair in ((pictures, texts), (pictures[:1], texts[:1]))
    ]
    return float(torch.stack(cosines).min())


def probe_pictures(shape: tuple[int, int, int]) -> torch.Tensor:
    """Pictures that are always the same: float32, shape (pictures, 3, height, width), half noise, half smooth."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    noise = torch.randn(PROBE_PICTURES, *shape, generator=generator)
    coarse = torch.randn(PROBE_PICTURES, shape[0], COARSE_SIDE, COARSE_SIDE, generator=generator)
    return torch.cat([noise, torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bicubic")])


def _embed(engine: Engine, items: tuple[torch.Tensor, Sequence[TokenizedText]]) -> torch.Tensor:
    pictures, texts = items
    return torch.cat([engine.encode_images(pictures).float().cpu(), engine.text_tower.encode(texts).float().cpu()])


def _make(config: ModelConfig, model: Any, shapes: Shapes, batch: BatchConfig) -> Engine:
    if config.engine == "torch-compile":
        # Not at the top: torch's compiler is a second of imports, for the engines that do without it too.
        from tiers.engines.compiled import CompiledEngine  # noqa: PLC0415

        return CompiledEngine(model, torch.device(config.device), config.precision, shapes=shapes, batch=batch)
    try:
        # Not at the top: what it needs is an extra.
        from tiers.engines.onnx_runtime import OnnxEngine  # noqa: PLC0415
    except ImportError as error:
        what = f"{config.engine} needs {error.name}, which is not installed: pip install 'secondlook[onnx]'"
        raise ModelUnavailable(f"engine {what}") from error
    return OnnxEngine(model, shapes=shapes, threads=config.threads, quantised=config.number_format == "int8")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
