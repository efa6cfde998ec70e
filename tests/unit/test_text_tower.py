"""Cutting a batch to its longest text: on where it changes nothing, off elsewhere, for each family of models."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from demo.captions import caption
from demo.scenes import sample_scene
from tiers.config import Precision
from tiers.text_tower import TextTower, group_by_length
from tiers.tokenizer import BytePairTokenizer, TokenizedText
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

TOKENIZER = BytePairTokenizer(open_clip.SimpleTokenizer())
VISION = {"image_size": 8, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
END = 49407
CPU = torch.device("cpu")


class PaddingAware(torch.nn.Module):
    """A text tower of another library: positions and mask of its own, the mean of what is not padding."""

    def __init__(self, *, reads_padding: bool = False) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(49408, 16)
        self.reads_padding = reads_padding

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Embed ids of any length: shape (texts, 16)."""
        weights = torch.ones_like(text) if self.reads_padding else (text != 0)
        words: torch.Tensor = self.words(text) * weights[..., None]
        return words.sum(dim=1) / weights.sum(dim=1, keepdim=True)


class Wrapper(torch.nn.Module):
    """A model around such a tower."""

    def __init__(self, text: torch.nn.Module) -> None:
        super().__init__()
        self.text = text

    def encode_text(self, text: torch.Tensor, *, normalize: bool) -> torch.Tensor:
        """Embed ids: unit length."""
        rows: torch.Tensor = self.text(text)
        return torch.nn.functional.normalize(rows, dim=-1) if normalize else rows


def clip(**text: object) -> Any:
    """CLIP itself, small."""
    return open_clip.CLIP(16, VISION, {**TEXT, **text}).eval()


def custom(**text: object) -> Any:
    """A model with a text tower of its own: SigLIP, CLIPA and others."""
    return open_clip.CustomTextCLIP(16, VISION, {**TEXT, **text}).eval()


def coca() -> Any:
    """CoCa, whose class token stands behind the padding."""
    text = {**TEXT, "embed_cls": True, "output_tokens": True}
    vision = {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    return open_clip.CoCa(16, {"width": 16, "heads": 2, "layers": 1}, text, vision).eval()


EXACT = {
    "CLIP": clip,
    "CLIP, ViT-B-32's text tower": lambda: clip(width=512, heads=8, layers=12),
    "CLIP that answers by name": lambda: open_clip.CLIP(16, VISION, TEXT, output_dict=True).eval(),
    "custom text tower, causal": custom,
    "pooled at the end token": lambda: custom(pool_type="eos", eos_id=END),
    "first position, causal": lambda: custom(pool_type="first"),
    "other library, masked": lambda: Wrapper(PaddingAware()),
}
INEXACT = {
    "SigLIP": lambda: custom(no_causal_mask=True, pool_type="last", proj_bias=True),
    "CLIPA": lambda: clip(no_causal_mask=True, pool_type="last"),
    "causal, last position": lambda: custom(pool_type="last"),
    "both sides, end token": lambda: clip(no_causal_mask=True),
    "both sides, first position": lambda: custom(no_causal_mask=True, pool_type="first"),
    "CoCa": coca,
    "other library, unmasked": lambda: Wrapper(PaddingAware(reads_padding=True)),
    "no text tower": lambda: Wrapper(torch.nn.Linear(77, 4)),
}


def tokenize(*texts: str) -> list[TokenizedText]:
    """Tokens of texts."""
    return [TOKENIZER.tokenize(text) for text in texts]


def captions() -> list[TokenizedText]:
    """24 texts of all lengths, the first the shortest and the last the longest."""
    generator = np.random.default_rng(1)
    texts = [caption(sample_scene(generator), generator) for _ in range(22)]
    return tokenize("!", *texts, "cat " * 60)


def tower(family: Any, precision: Precision = "fp32", dtype: torch.dtype = torch.float32) -> TextTower:
    """A family's text tower with seeded random weights, after its proof."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = family().to(dtype)
    made = TextTower(model, CPU)
    made.prove_cut(tokenize("a", "a red circle", "two blue squares left of a star"), precision)
    return made


@pytest.mark.parametrize("family", EXACT)
def test_cut_embeddings_are_the_padded_ones(family: str) -> None:
    """Batches and single texts, row for row."""
    subject, texts = tower(EXACT[family]), captions()

    cut = subject.encode(texts)
    single = torch.cat([subject.encode([text]) for text in texts[:8]])

    assert subject.cuts
    subject.cuts = False
    padded = subject.encode(texts)
    assert (cut * padded).sum(dim=1).min() >= 0.99999
    torch.testing.assert_close(cut, padded, atol=1e-5, rtol=0)
    torch.testing.assert_close(single, padded[:8], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", INEXACT)
def test_model_that_reads_padding_or_its_length_is_not_cut(family: str) -> None:
    """Its embeddings would be other ones."""
    assert not tower(INEXACT[family]).cuts


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_proof_holds_in_half_precision(precision: Precision, dtype: torch.dtype) -> None:
    """Rounding is not mistaken for padding, nor padding for rounding."""
    assert tower(lambda: clip(layers=1), precision, dtype).cuts
    assert not tower(lambda: custom(no_causal_mask=True, pool_type="last"), precision, dtype).cuts


def test_verdict_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An operator sees which it is."""
    with caplog.at_level(logging.INFO, "tiers.text_tower"):
        tower(EXACT["CLIP"])
        tower(INEXACT["SigLIP"])

    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "batches of texts are encoded at the length of the longest text",
        "batches of texts are encoded at the full context",
    ]


def test_model_is_as_it_was_after_a_cut_run() -> None:
    """Positions and mask have their full length again."""
    model = clip()
    subject = TextTower(model, CPU)
    subject.prove_cut(tokenize("a", "a red circle"), "fp32")

    assert (len(model.positional_embedding), tuple(model.attn_mask.shape)) == (77, (77, 77))
    assert isinstance(model.positional_embedding, torch.nn.Parameter)


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([5], [1]),
        ([5] * 64, [64]),
        ([4, 40] * 2, [4]),  # saves 72 positions: less than a run costs
        ([76] * 60 + [7] * 4, [64]),  # saves 276 positions, but of 4,864
        ([7] * 60 + [76] * 4, [60, 4]),
        ([3, 40] * 32, [32, 32]),
    ],
)
def test_long_texts_run_alone_where_that_saves_enough(lengths: list[int], sizes: list[int]) -> None:
    """Every text is in one group, the longer ones in the last."""
    groups = group_by_length(np.array(lengths))

    assert [len(group) for group in groups] == sizes
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert max(lengths[place] for place in groups[0]) <= min(lengths[place] for place in groups[-1]) or len(groups) == 1


@pytest.mark.parametrize("name", ["CLIP", "custom text tower, causal"])
def test_threads_that_encode_at_the_same_time_do_not_disturb_each_other(name: str) -> None:
    """Texts of other lengths on another thread change nothing: the model itself is left as it is."""
    tower = TextTower(clip() if name == "CLIP" else custom(), CPU)
    batches = [[TOKENIZER.tokenize(" ".join(["star"] * words))] * 4 for words in (1, 5, 20, 60)]
    tower.prove_cut([batch[0] for batch in batches], "fp32")
    alone = [tower.encode(batch) for batch in batches]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(tower.encode, batches * 25))

    assert tower.cuts
    for number, rows in enumerate(together):
        torch.testing.assert_close(rows, alone[number % len(batches)], atol=1e-5, rtol=0)
