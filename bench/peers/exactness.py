"""How near each server is to open_clip's own transform, tokenizer (padded to 77) and model in fp32."""

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.load import OK
from bench.load_process import Target
from bench.payloads import caption
from bench.peers.apis import KINDS, Api, Kind
from bench.peers.model import ARCHITECTURE, WEIGHTS
from bench.photographs import photograph
from bench.services import ask
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

Matrix = NDArray[np.float64]
PROBES = 8
FIRST_PROBE = 900_000
LONG_TEXT = ", ".join(caption(number * 137) for number in range(7))
"""A text of more than 39 tokens, which some servers cut."""


def probe_texts() -> list[str]:
    """Return the texts to compare: captions, the last one long."""
    return [*(caption(FIRST_PROBE + number) for number in range(PROBES - 1)), LONG_TEXT]


def probe_images() -> list[bytes]:
    """Return the images to compare."""
    return [photograph(FIRST_PROBE + number) for number in range(PROBES)]


@torch.inference_mode()
def reference(peers: Path) -> dict[Kind, Matrix]:
    """Embed the probes with open_clip itself, one at a time."""
    logging.disable(logging.WARNING)
    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=str(peers / WEIGHTS))
    logging.disable(logging.NOTSET)
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    model.eval()
    texts = [model.encode_text(tokenizer([text]))[0] for text in probe_texts()]
    images = [model.encode_image(transform(Image.open(io.BytesIO(file)))[None])[0] for file in probe_images()]
    return {"text": torch.stack(texts).double().numpy(), "image": torch.stack(images).double().numpy()}


def answered(target: Target, api: Api) -> dict[Kind, Matrix]:
    """Return a server's embeddings of the probes, asked for one at a time over HTTP."""
    requests: dict[Kind, list[bytes]] = {
        "text": [api.text(text) for text in probe_texts()],
        "image": [api.image(file) for file in probe_images()],
    }
    return {kind: np.array([_vector(target, api, request) for request in requests[kind]]) for kind in KINDS}


def exactness(found: Mapping[Kind, Matrix], expected: Mapping[Kind, Matrix]) -> dict[str, float]:
    """Return the least cosine of each kind, and of what tells the probes of a kind apart.

    Random weights give nearly the same embedding to everything of a kind, so that a cosine is near 1 whatever
    is done. The second figure is the cosine after the mean of the expected embeddings is taken off both.
    """
    figures: dict[str, float] = {}
    for kind in KINDS:
        ours, theirs = _unit(found[kind]), _unit(expected[kind])
        mean = theirs.mean(axis=0)
        figures[f"{kind}_cosine"] = float(_cosines(ours, theirs).min())
        figures[f"{kind}_difference_cosine"] = float(_cosines(ours - mean, theirs - mean).min())
    figures["long_text_cosine"] = float(_cosines(found["text"][-1:], expected["text"][-1:])[0])
    return figures


def _vector(target: Target, api: Api, request: bytes) -> Sequence[float]:
    code, answer = ask(target, request)
    if code != OK:
        raise RuntimeError(f"a probe is answered {code}: {answer}")
    return api.vector(answer)


def _unit(rows: Matrix) -> Matrix:
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _cosines(one: Matrix, other: Matrix) -> Matrix:
    cosines: Matrix = (_unit(one) * _unit(other)).sum(axis=1)
    return cosines
