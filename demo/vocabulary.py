"""Train the byte-pair vocabulary that both models share.

The file has the format that open_clip's SimpleTokenizer(bpe_path=...) reads: a header line, then
one merge per line, gzipped. Run: python -m demo.vocabulary
"""

import gzip
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from demo.captions import all_words, caption
from demo.scenes import sample_scene

VOCABULARY_PATH = Path(__file__).parent / "models" / "bpe_vocab.txt.gz"
CORPUS_CAPTIONS = 20_000
SEED = 20_240_601
_END = "</w>"

Symbols = tuple[str, ...]


def caption_words(count: int = CORPUS_CAPTIONS, seed: int = SEED) -> Counter[str]:
    """Count the words of randomly drawn captions; every possible word occurs at least once."""
    generator = np.random.default_rng(seed)
    words = Counter(all_words())
    for _ in range(count):
        words.update(caption(sample_scene(generator), generator).split())
    return words


def train_merges(words: Counter[str]) -> list[tuple[str, str]]:
    """Merge the most frequent pair of symbols again and again until every word is one symbol."""
    spelled = {(*word[:-1], word[-1] + _END): count for word, count in words.items()}
    merges: list[tuple[str, str]] = []
    while pairs := _count_pairs(spelled):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = {_merge(symbols, best): count for symbols, count in spelled.items()}
    return merges


def write_vocabulary(merges: list[tuple[str, str]], path: Path = VOCABULARY_PATH) -> None:
    """Write the merges, the same bytes each time."""
    lines = ["#version: 0.2 - byte-pair merges of the demo captions"]
    lines += [" ".join(merge) for merge in merges]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def _count_pairs(spelled: dict[Symbols, int]) -> Counter[tuple[str, str]]:
    pairs: Counter[tuple[str, str]] = Counter()
    for symbols, count in spelled.items():
        for pair in pairwise(symbols):
            pairs[pair] += count
    return pairs


def _merge(symbols: Symbols, pair: tuple[str, str]) -> Symbols:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


if __name__ == "__main__":
    write_vocabulary(train_merges(caption_words()))
