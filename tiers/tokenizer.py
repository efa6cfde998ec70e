"""Texts as token ids: exactly open_clip's, in less time and in bounded memory."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tiers.byte_pairs import Ranks, merge_pairs
from tiers.errors import BadItem

# open_clip's own tokenizers are quadratic in a word's length (16,000 letters: 5 s). At 256 bytes a text of the longest
# words costs what a text of ordinary ones does. Ours needs no such bound.
MAX_WORD_BYTES = 256
CACHED_WORDS = 32_768
MAX_CACHED_WORD_CHARS = 32
# Neither ftfy nor HTML unescaping changes such a text: nothing to decode, no entity, no control character.
PLAIN = re.compile(r"[\t\n\r -%'-~]*")
END_OF_WORD = "</w>"
# What a tokenizer has to agree on with open_clip's before it takes its place.
PROBES = (
    "",
    "a photo of two dogs, playing in the snow",
    "It's  A\tRED circle\nleft-of 12 blue_squares!!! (really?)",
    "<start_of_text>a cat<END_OF_TEXT> $5.99 #1 'quoted' \"twice\"",
    "Tom &amp;amp; Jerry &lt;3 \u00e9t\u00e9 na\u00efve \u00c3\u00a9 \u201ccurly\u201d \ufb01ne",
    "\u732b\u3068\u72ac \u043a\u043e\u0448\u043a\u0430 \u0130I\u0301 e\u0301 \u0663\u00bd",
    "\U0001f408\u200d\u2b1b \x07\x1b[31mred\x1b[0m\x7f \u00a0\u3000\u1680",
    "antidisestablishmentarianism " * 40,
)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the model takes it, and how many tokens it had, start and end included, before any cut.

    `ids` is int64, of the length of the model's context: what is longer is cut and ends with the end token, what is
    shorter is padded. The text was cut where `token_count` is more than that length.
    """

    ids: NDArray[np.int64]
    token_count: int

    @property
    def length(self) -> int:
        """Ids before the padding."""
        return min(self.token_count, len(self.ids))


class TextTokenizer(Protocol):
    """What an encoder asks of a tokenizer; threads may share it."""

    def tokenize(self, text: str) -> TokenizedText:
        """Tokenize one text.

        Raises:
            BadItem: It would take too long.
        """


@runtime_checkable
class BytePairVocabulary(Protocol):
    """The parts of open_clip's SimpleTokenizer that ours is made of."""

    byte_encoder: Mapping[int, str]
    encoder: Mapping[str, int]
    bpe_ranks: Ranks
    pat: re.Pattern[str]
    clean_fn: Callable[[str], str]
    all_special_ids: list[int]
    sot_token_id: int
    eot_token_id: int
    context_length: int

    def encode(self, text: str) -> list[int]:
        """Ids of a whole text, without start and end."""


def choose_tokenizer(original: Any) -> TextTokenizer:
    """Take ours where it gives what an open_clip tokenizer gives, and that one itself elsewhere."""
    if isinstance(original, BytePairVocabulary):
        ours = BytePairTokenizer(original)
        if all(_agree(ours, original, text) for text in PROBES):
            return ours
    return OpenClipTokenizer(original)


class BytePairTokenizer:
    """A SimpleTokenizer's vocabulary with a shortcut for plain texts, a bounded cache of words and linear merging."""

    def __init__(self, original: BytePairVocabulary) -> None:
        self._original = original
        self._specials = {name for name, number in original.encoder.items() if number in original.all_special_ids}
        self._encode_cached = lru_cache(CACHED_WORDS)(self._encode_word)

    def tokenize(self, text: str) -> TokenizedText:
        """Tokenize one text, however long its words are."""
        original = self._original
        tokens = [original.sot_token_id, *self.encode(text), original.eot_token_id]
        ids = np.zeros(original.context_length, dtype=np.int64)
        kept = tokens[: original.context_length]
        kept[-1] = original.eot_token_id
        ids[: len(kept)] = kept
        return TokenizedText(ids, len(tokens))

    def encode(self, text: str) -> list[int]:
        """Ids of a whole text, without start and end."""
        words = text.lower() if PLAIN.fullmatch(text) else self._original.clean_fn(without_surrogates(text))
        ids: list[int] = []
        for word in words.split():
            ids += self._encode_cached(word) if len(word) <= MAX_CACHED_WORD_CHARS else self._encode_word(word)
        return ids

    def _encode_word(self, word: str) -> tuple[int, ...]:
        """Ids of what stands between two spaces of a cleaned text: no token reaches across a space."""
        original = self._original
        ids: list[int] = []
        for piece in original.pat.findall(word):
            token = "".join([original.byte_encoder[byte] for byte in piece.encode()])
            if token in self._specials:
                ids.append(original.encoder[token])
            else:
                symbols = merge_pairs([*token[:-1], token[-1] + END_OF_WORD], original.bpe_ranks)
                ids += [original.encoder[symbol] for symbol in symbols]
        return tuple(ids)


class OpenClipTokenizer:
    """A tokenizer of open_clip as it is, kept from words that it takes too long for."""

    def __init__(self, original: Any) -> None:
        self._original = original
        inner = getattr(original, "tokenizer", None)
        self._padding: int = getattr(inner, "pad_token_id", None) or 0
        self._is_end_padding = getattr(inner, "eos_token_id", None) == self._padding
        # Hugging Face's tokenizers hold the length to cut at as a state that no other thread may change in between.
        self._lock = Lock()

    def tokenize(self, text: str) -> TokenizedText:
        """Tokenize one text.

        Raises:
            BadItem: A word is longer than the tokenizer handles in bounded time.
        """
        clean = without_surrogates(text)
        if any(len(word.encode()) > MAX_WORD_BYTES for word in clean.split()):
            raise BadItem("too_large", f"a word is longer than {MAX_WORD_BYTES} bytes")
        with self._lock:
            ids = self._ids(clean)
            count = self._count(ids)
            if count >= len(ids):
                # Of a text that fills its context, how long it was shows only in a context that it does not fill.
                count = self._count(self._ids(clean, context_length=len(ids) + 4 * len(clean.encode())))
        return TokenizedText(ids, count)

    def _ids(self, text: str, **options: int) -> NDArray[np.int64]:
        return np.asarray(self._original([text], **options)[0], dtype=np.int64)

    def _count(self, ids: NDArray[np.int64]) -> int:
        """Ids that are not padding; where the end token pads as well, the first of them is the text's."""
        used = int((ids != self._padding).sum())
        return min(used + self._is_end_padding, len(ids))


def without_surrogates(text: str) -> str:
    """Put a question mark for each half of a character, which UTF-8 does not know."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _agree(ours: BytePairTokenizer, original: Any, text: str) -> bool:
    try:
        tokenized = ours.tokenize(text)
        expected = original([text])[0].tolist()
        return tokenized.ids.tolist() == expected and tokenized.token_count == len(original.encode(text)) + 2
    except (KeyError, TypeError, ValueError, IndexError):
        return False
