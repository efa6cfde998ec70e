"""`python -m bench.preprocessing`: milliseconds of one core per picture, open_clip's image transform beside ours."""

import io
import sys
import time
from collections.abc import Callable

import torch
from PIL import Image

from bench.photographs import draw
from tiers.config import ImageLimits
from tiers.torchvision_shim import import_torchvision
from tiers.transform import ImageTransform, OpenClipTransform, choose_transform

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

ARCHITECTURE = "ViT-B-32"
CASES = (
    ("JPEG", (640, 480)),
    ("JPEG", (1920, 1080)),
    ("JPEG", (4032, 3024)),
    ("PNG", (640, 480)),
    ("WEBP", (640, 480)),
)
MIN_ROUNDS = 4
ROUNDS_S = 1.0
LIMITS = ImageLimits()


def main() -> int:
    """Measure and print; the exit code is 0 whatever the figures are."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE, pretrained=None)
    original = OpenClipTransform(transform)
    ours = choose_transform(open_clip.get_model_preprocess_cfg(model.eval()), transform)
    sys.stdout.write(f"{ARCHITECTURE}, {type(ours).__name__}, {torch.backends.cpu.get_cpu_capability()}\n")
    for file_format, size in CASES:
        data = _photograph(size, file_format)
        before, after = _milliseconds(original, data), _milliseconds(ours, data)
        cosine = _cosine(model.encode_image, original.prepare(data, LIMITS), ours.prepare(data, LIMITS))
        sys.stdout.write(
            f"{file_format} {size[0]}x{size[1]}, {len(data) // 1000} kB: open_clip {before:.1f} ms, "
            f"ours {after:.1f} ms, {before / after:.1f}x, cosine {cosine:.6f}\n"
        )
    return 0


def _photograph(size: tuple[int, int], file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw(size, seed=0)).save(buffer, file_format, quality=85)
    return buffer.getvalue()


def _milliseconds(transform: ImageTransform, data: bytes) -> float:
    """The least of several rounds: what disturbs a measurement only ever adds to it."""
    transform.prepare(data, LIMITS)
    rounds: list[float] = []
    while len(rounds) < MIN_ROUNDS or sum(rounds) < ROUNDS_S:
        started = time.thread_time()
        transform.prepare(data, LIMITS)
        rounds.append(time.thread_time() - started)
    return min(rounds) * 1e3


@torch.inference_mode()
def _cosine(encode: Callable[..., torch.Tensor], one: torch.Tensor, other: torch.Tensor) -> float:
    pair = encode(torch.stack([one, other]), normalize=True)
    return float(pair[0] @ pair[1])


if __name__ == "__main__":
    sys.exit(main())
