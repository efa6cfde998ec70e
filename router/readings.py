"""The lists of a request, read: good items with their places, and the errors of the others."""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cachebox

from router.errors import ApiError
from router.items import Item, ItemReader, read_all
from tiers.messages import Modality

# What a remembered list costs besides its strings: per text the item and its digest.
BYTES_PER_LIST, BYTES_PER_TEXT = 400, 350
MEMORY_BYTES = 8 * 2**20


class Reading(NamedTuple):
    """One list of a request. `name` names the good items, in order: their digests, joined."""

    items: tuple[Item, ...]
    places: Sequence[int]
    errors: Mapping[int, ApiError]
    name: bytes

    @property
    def width(self) -> int:
        """Items of the list, those that could not be read included."""
        return len(self.items) + len(self.errors)


class ListReader:
    """Reads a request's lists. Lists of texts that come again are remembered: their labels are hashed once."""

    def __init__(self, reader: ItemReader, memory_bytes: int = MEMORY_BYTES) -> None:
        self._reader = reader
        # Least frequently used first out: a stream of lists that never come again does not flush the others.
        self._texts: cachebox.LFUCache[tuple[object, ...], Reading] = cachebox.LFUCache(memory_bytes, getsizeof=_weigh)

    def images(self, raw: list[object]) -> Reading:
        """Read a list of images; each stands for itself."""
        return _split(read_all(self._reader, raw, plain="image", wanted="image", param="images"))

    def texts(self, raw: list[object]) -> Reading:
        """Read a list of texts; each stands for itself."""
        key = tuple(raw)
        try:
            known: Reading | None = self._texts.get(key)
        except TypeError:  # objects in place of strings
            return self._read_texts(raw)
        if known is None:
            known = self._read_texts(raw)
            # Only lists of strings: with others, which Python finds equal (1 and True), equal is not the same.
            if not known.errors and all(isinstance(text, str) for text in raw):
                self._remember(key, known)
        return known

    def mixed(self, raw: list[object], plain: Modality, param: str) -> list[Item | ApiError]:
        """Read a list of texts and images; a bare string is what `plain` says."""
        return read_all(self._reader, raw, plain=plain, wanted=None, param=param)

    def _read_texts(self, raw: list[object]) -> Reading:
        return _split(read_all(self._reader, raw, plain="text", wanted="text", param="texts"))

    def _remember(self, key: tuple[object, ...], reading: Reading) -> None:
        try:
            self._texts.insert(key, reading)
        except OverflowError:
            return


def _split(results: Sequence[Item | ApiError]) -> Reading:
    items = [result for result in results if isinstance(result, Item)]
    name = b"".join([item.digest for item in items])
    if len(items) == len(results):
        return Reading(tuple(items), range(len(items)), {}, name)
    errors = {place: result for place, result in enumerate(results) if isinstance(result, ApiError)}
    places = [place for place in range(len(results)) if place not in errors]
    return Reading(tuple(items), places, errors, name)


def _weigh(key: tuple[object, ...], _: Reading) -> int:
    return BYTES_PER_LIST + BYTES_PER_TEXT * len(key) + sum(sys.getsizeof(text) for text in key)
