"""`python -m bench.tokenizing`: texts per second of one core, open_clip's way beside ours."""

import random
import statistics
import string
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from demo.captions import caption
from demo.scenes import sample_scene
from tiers.config import ImageLimits, ModelConfig
from tiers.encoder import Encoder
from tiers.tokenizer import BytePairTokenizer, TokenizedText
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

ROUNDS = 3
CAPTIONS = 2000
ENCODED = 64
WORD_LETTERS = 16_000
ARCHITECTURE = "ViT-B-32"


def main() -> int:
    """Measure and print; the exit code is 0 whatever the figures are."""
    generator = np.random.default_rng(0)
    captions = [caption(sample_scene(generator), generator) for _ in range(CAPTIONS)]
    _measure_tokenizers(captions)
    _measure_word()
    _measure_encoding(captions[:ENCODED])
    return 0


def _measure_tokenizers(captions: Sequence[str]) -> None:
    accented = [f"sch\u00f6nes Bild \u2014 {text} \u201cna\u00efve\u201d \u732b" for text in captions]
    for name, texts in (("captions", captions), ("captions with Unicode", accented)):
        rates = {"open_clip": _rate(_open_clip(), texts), "ours": _rate(_ours(), texts)}
        _print(f"tokenize {name}", rates)


def _measure_word() -> None:
    letters = "".join(random.Random(0).choices(string.ascii_lowercase, k=WORD_LETTERS))
    tokenize = _ours()
    seconds = min(_seconds(lambda: tokenize(letters)) for _ in range(ROUNDS))
    sys.stdout.write(f"one word of {WORD_LETTERS:,} letters: {seconds * 1e3:.0f} ms\n")


def _measure_encoding(captions: Sequence[str]) -> None:
    encoder = Encoder(ModelConfig(architecture=ARCHITECTURE, pretrained="random", threads=1), ImageLimits())
    ordinary = [encoder.prepare_text(text) for text in captions]
    longest = encoder.prepare_text("long " * 70)
    for name, texts in (("captions", ordinary), ("captions, one of them of 72 tokens", [*ordinary[1:], longest])):
        rates = {whose: _encoding_rate(encoder, texts, cuts=whose == "cut") for whose in ("padded", "cut")}
        _print(f"{ARCHITECTURE} encodes {len(texts)} {name}", rates)


def _encoding_rate(encoder: Encoder, texts: Sequence[TokenizedText], *, cuts: bool) -> float:
    encoder.text_tower.cuts = cuts
    return len(texts) / min(_seconds(lambda: encoder.encode_texts(texts)) for _ in range(ROUNDS))


def _open_clip() -> Callable[[str], Any]:
    tokenizer = open_clip.SimpleTokenizer()
    return lambda text: tokenizer([text])


def _ours() -> Callable[[str], Any]:
    return BytePairTokenizer(open_clip.SimpleTokenizer()).tokenize


def _rate(tokenize: Callable[[str], Any], texts: Sequence[str]) -> float:
    """Texts per second, the median of rounds after one that fills the caches of words."""
    rounds = [_seconds(lambda: [tokenize(text) for text in texts]) for _ in range(ROUNDS + 1)]
    return len(texts) / statistics.median(rounds[1:])


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _print(what: str, rates: dict[str, float]) -> None:
    before, after = rates.values()
    each = ", ".join(f"{whose} {rate:,.0f}/s" for whose, rate in rates.items())
    sys.stdout.write(f"{what}: {each}, {after / before:.1f}x\n")


if __name__ == "__main__":
    sys.exit(main())
