"""Our tokenizer beside open_clip's: the same ids for every text, and no text that takes long."""

import gzip
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.captions import caption
from demo.scenes import sample_scene
from tiers.byte_pairs import Ranks, merge_pairs
from tiers.errors import BadItem
from tiers.tokenizer import (
    END_OF_WORD,
    MAX_WORD_BYTES,
    PLAIN,
    BytePairTokenizer,
    OpenClipTokenizer,
    choose_tokenizer,
    without_surrogates,
)
from tiers.torchvision_shim import import_torchvision

import_torchvision()
import open_clip  # noqa: E402 - torchvision has to be importable first

DEMO_MERGES = Path(__file__).resolve().parents[2] / "demo" / "models" / "bpe_vocab.txt.gz"
ORIGINALS = {
    "default": open_clip.SimpleTokenizer(),
    "demo": open_clip.SimpleTokenizer(bpe_path=str(DEMO_MERGES), context_length=32),
}
OURS = {name: BytePairTokenizer(original) for name, original in ORIGINALS.items()}
FRAGMENTS = [
    *("&amp;", "&amp;lt;", "&#x27;", "&nbsp;", "&", "<b>", "<start_of_text>", "<END_OF_TEXT>", "'s", "'LL", "'", "!!!"),
    *(" ", "  ", "\t", "\r\n", "\u00a0", "\u2028", "\x1c", "\x85", "\x00", "\x07", "\x1b[31m", "\x7f", "\ufeff"),
    *("\u00c3\u00a9", "\u00e2\u20ac\u2122", "\u201c", "\ufb01", "\uff21", "\u0130", "\u017f", "\u00df", "\u1e9e"),
    *("e\u0301", "\u0301", "\u0663", "\u00bd", "\u2167", "\u732b", "\U0001f408\u200d\u2b1b", "\U0001f1e9\U0001f1ea"),
    *("\ud83d", "\udc08", "photo", "CAT", "_", "1234", "3.5"),
]
texts = st.one_of(
    st.text(),
    st.text(st.characters(max_codepoint=127)),
    st.text(st.characters(categories=["Cs", "Mn", "So", "Nd", "No", "Cc", "Cf", "Zs"])),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3))).map("".join),
)


class HuggingFace:
    """A tokenizer as open_clip wraps Hugging Face's: one id a word, the end token always kept, padding at the end."""

    def __init__(self, padding: int, end: int) -> None:
        self.tokenizer = self
        self.pad_token_id, self.eos_token_id = padding, end

    def __call__(self, texts: list[str], context_length: int = 8) -> list[list[int]]:
        """Ids of texts, cut and padded to the context."""
        rows = [[7] * len(text.split()[: context_length - 1]) + [self.eos_token_id] for text in texts]
        return [row + [self.pad_token_id] * (context_length - len(row)) for row in rows]


@pytest.mark.parametrize("vocabulary", ORIGINALS)
@given(text=texts)
def test_ids_are_open_clips(vocabulary: str, text: str) -> None:
    """Whatever the text; halves of characters are question marks, which open_clip doesn't take."""
    original, ours = ORIGINALS[vocabulary], OURS[vocabulary]
    clean = without_surrogates(text)

    tokenized = ours.tokenize(text)

    assert tokenized.ids.tolist() == original([clean])[0].tolist()
    assert tokenized.token_count == len(original.encode(clean)) + 2
    assert tokenized.length == min(tokenized.token_count, original.context_length)


@given(text=st.from_regex(PLAIN, fullmatch=True))
def test_plain_text_is_clean_but_for_spaces_and_capitals(text: str) -> None:
    """What the shortcut leaves out would have changed nothing."""
    assert ORIGINALS["default"].clean_fn(text) == " ".join(text.lower().split())


@pytest.mark.parametrize("vocabulary", ORIGINALS)
def test_ids_of_captions_are_open_clips(vocabulary: str) -> None:
    """On the corpus that the demo's models know, again and again from the cache."""
    generator = np.random.default_rng(0)
    captions = [caption(sample_scene(generator), generator) for _ in range(2000)]

    ids = np.stack([OURS[vocabulary].tokenize(text).ids for text in captions])

    np.testing.assert_array_equal(ids, ORIGINALS[vocabulary](captions).numpy())


@given(
    word=st.text("abc", min_size=2, max_size=40),
    merges=st.lists(
        st.tuples(st.text("abc", min_size=1, max_size=4), st.from_regex("[abc]{1,4}(</w>)?", fullmatch=True)),
        unique=True,
    ),
)
def test_merging_is_open_clips_for_any_merges(word: str, merges: list[tuple[str, str]]) -> None:
    """Also for merges that no training gives: a later pair may make what an earlier one needs."""
    ranks: Ranks = {pair: rank for rank, pair in enumerate(merges)}
    original = object.__new__(open_clip.SimpleTokenizer)
    original.bpe_ranks, original.cache = ranks, {}

    merged = merge_pairs([*word[:-1], word[-1] + END_OF_WORD], ranks)

    assert merged == original.bpe(word).split(" ")


def test_places_of_a_pair_are_merged_before_what_they_make() -> None:
    """Else `xyz xy` would take the second `xy` from its own `z`."""
    ranks = {("x", "y"): 0, ("xyz", "xy"): 1, ("xy", "z"): 2}

    assert merge_pairs("xyzxyz", ranks) == ["xyz", "xyz"]


@pytest.mark.parametrize("word", ["x", "ha", "\u732b", "!", "\u00e2\u20ac", "qwertzuiop"])
def test_endless_word_takes_milliseconds(word: str) -> None:
    """16,000 letters without a space: seconds in open_clip's tokenizer, and counted whole here."""
    endless = word * (16_000 // len(word))
    started = time.process_time()

    tokenized = OURS["default"].tokenize(endless)

    assert time.process_time() - started < 1
    assert tokenized.token_count > tokenized.length == 77
    assert tokenized.ids[-1] == ORIGINALS["default"].eot_token_id


def test_token_of_number_zero_counts() -> None:
    """An exclamation mark inside a word has the number that also pads."""
    tokenized = OURS["demo"].tokenize("a!? !?")

    assert (tokenized.ids[: tokenized.length] == 0).sum() == 2
    assert tokenized.token_count == len(ORIGINALS["demo"].encode("a!? !?")) + 2


def test_ours_is_chosen_where_it_is_exact() -> None:
    """Both vocabularies that we ship or load."""
    assert all(isinstance(choose_tokenizer(original), BytePairTokenizer) for original in ORIGINALS.values())


@pytest.mark.parametrize("options", [{"clean": "canonicalize"}, {"clean": "whitespace"}, {"reduction_mask": "simple"}])
def test_open_clips_is_kept_where_ours_is_not_exact(options: dict[str, str]) -> None:
    """Another cleaning or another way to cut shows on the probes."""
    original = open_clip.SimpleTokenizer(bpe_path=str(DEMO_MERGES), context_length=8, **options)

    chosen = choose_tokenizer(original)

    assert isinstance(chosen, OpenClipTokenizer)
    assert chosen.tokenize("A cat.").ids.tolist() == original(["A cat."])[0].tolist()


def test_broken_vocabulary_is_left_to_open_clip(tmp_path: Path) -> None:
    """Ours does not stand in the way of whatever open_clip says of it."""
    merges = tmp_path / "merges.gz"
    merges.write_bytes(gzip.compress(b"#version\na b"))
    original = open_clip.SimpleTokenizer(bpe_path=str(merges))
    del original.encoder["a</w>"]

    assert isinstance(choose_tokenizer(original), OpenClipTokenizer)


@pytest.mark.parametrize(("padding", "end"), [(0, 1), (1, 2), (1, 1)])
@pytest.mark.parametrize("words", [0, 1, 6, 7, 8, 100])
def test_tokens_of_other_tokenizers_are_counted_whole(padding: int, end: int, words: int) -> None:
    """Whatever they pad with, the end token included, and beyond the context."""
    tokenizer = choose_tokenizer(HuggingFace(padding, end))

    tokenized = tokenizer.tokenize("cat " * words)

    assert tokenized.token_count == words + 1
    assert tokenized.ids.shape == (8,)


def test_endless_word_is_too_large_for_other_tokenizers() -> None:
    """They may take quadratic time for a word; the same letters in words are fine."""
    tokenizer = choose_tokenizer(HuggingFace(0, 1))

    with pytest.raises(BadItem) as caught:
        tokenizer.tokenize("a cat " + "x" * (MAX_WORD_BYTES + 1))

    assert caught.value.code == "too_large"
    assert tokenizer.tokenize("x " * MAX_WORD_BYTES).token_count > MAX_WORD_BYTES
