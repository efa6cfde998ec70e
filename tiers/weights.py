"""A model's weights as pages of their file: the replicas of one node have them in memory once."""

import ctypes
import logging
from pathlib import Path

import torch
from safetensors.torch import load_file

from tiers.config import ModelConfig
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

logger = logging.getLogger(__name__)
LOCAL_FILE = "open_clip_model.safetensors"


def map_weights(model: torch.nn.Module, config: ModelConfig) -> int:
    """Let a loaded model's tensors be the mapped pages of the file they came from; the copies are freed.

    Only where the file is in the safetensors format and a tensor is computed with as it is stored: on a CPU, in the
    file's own number format. Whatever differs stays the model's own.

    Returns:
        How many bytes of weights are mapped.
    """
    if config.device != "cpu" or config.pretrained == "random":
        return 0
    file = _weights_file(config)
    if file is None or file.suffix != ".safetensors":
        return 0
    stored = load_file(file)
    mapped = 0
    for name, tensor in model.state_dict(keep_vars=True).items():
        page = stored.get(name)
        if page is not None and page.dtype == tensor.dtype and torch.equal(page, tensor.detach()):
            tensor.data = page
            mapped += page.nbytes
    if mapped:
        _give_back_freed_memory()
    logger.info("%d of the model's %d MiB are mapped from %s", mapped // 2**20, _size(model) // 2**20, file.name)
    return mapped


def _weights_file(config: ModelConfig) -> Path | None:
    """Where open_clip has found the weights; it has downloaded them by now."""
    scheme, _, place = config.architecture.rpartition(":")
    if scheme == "local-dir":
        file = Path(place) / LOCAL_FILE
        return file if file.exists() else None
    if scheme == "hf-hub":
        return Path(open_clip.download_pretrained_from_hf(place))
    if config.pretrained is None or Path(config.pretrained).is_file():
        return Path(config.pretrained) if config.pretrained else None
    return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(config.architecture, config.pretrained)))


def _give_back_freed_memory() -> None:
    """Where the C library can: it keeps a quarter of what the copies took, in pieces, for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _size(model: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in model.state_dict().values())
