"""Byte-pair merging of one word, in time that grows with the word's length and not with its square."""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

Ranks = Mapping[tuple[str, str], int]


def merge_pairs(symbols: Sequence[str], ranks: Ranks) -> list[str]:
    """Merge neighbours, the pair of the lowest rank first and all its places from left to right, until none has a rank.

    The result is that of scanning the whole word again for each merge, as open_clip does. Symbols are not empty.
    """
    word = _Word(symbols, ranks)
    while word.merge_next():
        pass
    return [symbol for symbol in word.symbols if symbol]


class _Word:
    """Symbols as a doubly linked list, and for each rank the places where its pair may stand.

    A symbol that was merged into its left neighbour is empty. Places are not removed when one of their symbols goes:
    whether the pair still stands there is looked at when its rank has its turn.
    """

    __slots__ = ("_following", "_places", "_previous", "_ranks", "_waiting", "symbols")

    def __init__(self, symbols: Sequence[str], ranks: Ranks) -> None:
        self.symbols = list(symbols)
        self._ranks = ranks
        self._following = list(range(1, len(symbols) + 1))
        self._previous = list(range(-1, len(symbols) - 1))
        self._places: dict[int, list[int]] = {}
        for place, pair in enumerate(pairwise(symbols)):
            if (rank := ranks.get(pair)) is not None:
                self._places.setdefault(rank, []).append(place)
        self._waiting = list(self._places)
        heapify(self._waiting)

    def merge_next(self) -> bool:
        """Merge all places of the pair of the lowest rank; false when no pair has a rank."""
        if not self._waiting:
            return False
        rank = heappop(self._waiting)
        merged = [place for place in sorted(self._places.pop(rank)) if self._merge(place, rank)]
        # Only now: a new pair of a lower rank must not take a symbol from a place further right of this one.
        for place in merged:
            self._note(self._previous[place])
            self._note(place)
        return True

    def _merge(self, place: int, rank: int) -> bool:
        right = self._following[place]
        if right == len(self.symbols) or self._ranks.get((self.symbols[place], self.symbols[right])) != rank:
            return False
        self.symbols[place] += self.symbols[right]
        self.symbols[right] = ""
        after = self._following[place] = self._following[right]
        if after < len(self.symbols):
            self._previous[after] = place
        return True

    def _note(self, place: int) -> None:
        """Remember the pair that begins here, if there is one and it has a rank."""
        if place < 0 or self._following[place] == len(self.symbols):
            return
        rank = self._ranks.get((self.symbols[place], self.symbols[self._following[place]]))
        if rank is None:
            return
        if rank not in self._places:
            self._places[rank] = []
            heappush(self._waiting, rank)
        self._places[rank].append(place)
