"""The lists of a request, read: good items with their places, and the errors of the others."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import cachebox

from router.deadline import Deadline
from router.errors import ApiError, UrlNotFetched
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

    def names(self, param: str) -> list[str]:
        """What callers call the good items, in a list that they call `param`."""
        return [f"{param}[{place}]" for place in self.places]


class ImageFetcher(Protocol):
    """Fetches images from URLs."""

    async def fetch_all(self, urls: Iterable[str], deadline: Deadline) -> Mapping[str, bytes | ApiError]:
        """The bytes behind each URL, or its own error."""


class ListReader:
    """Reads a request's lists. Lists of texts that come again are remembered: their labels are hashed once."""

    def __init__(
        self, reader: ItemReader, memory_bytes: int = MEMORY_BYTES, *, fetcher: ImageFetcher | None = None
    ) -> None:
        self._reader = reader
        self._fetcher = fetcher
        # Least frequently used first out: a stream of lists that never come again does not flush the others.
        self._texts: cachebox.LFUCache[tuple[object, ...], Reading] = cachebox.LFUCache(memory_bytes, getsizeof=_weigh)

    def images(self, raw: list[object], param: str = "images") -> Reading:
        """Read a list of images; each stands for itself."""
        return split(read_all(self._reader, raw, plain="image", wanted="image", param=param))

    def texts(self, raw: list[object], param: str = "texts") -> Reading:
        """Read a list of texts; each stands for itself."""
        key = tuple(raw)
        try:
            known: Reading | None = self._texts.get(key)
        except TypeError:  # objects in place of strings
            return self._read_texts(raw, param)
        if known is None:
            known = self._read_texts(raw, param)
            # Only lists of strings: with others, which Python finds equal (1 and True), equal is not the same.
            if not known.errors and all(isinstance(text, str) for text in raw):
                self._remember(key, known)
        return known

    def mixed(self, raw: list[object], plain: Modality, param: str) -> list[Item | ApiError]:
        """Read a list of texts and images; a bare string is what `plain` says."""
        return read_all(self._reader, raw, plain=plain, wanted=None, param=param)

    async def fetch(self, reading: Reading, raw: list[object], deadline: Deadline, param: str) -> Reading:
        """The reading of `raw` with the images that stand behind URLs, each URL fetched once.

        Where none is fetched they stay the errors that they are.
        """
        urls = {place: _url(raw[place]) for place, error in reading.errors.items() if isinstance(error, UrlNotFetched)}
        if self._fetcher is None or not urls:
            return reading
        fetched = await self._fetcher.fetch_all(urls.values(), deadline)
        images = {
            url: self._reader.read(found, "image") if isinstance(found, bytes) else found
            for url, found in fetched.items()
        }
        results: dict[int, Item | ApiError] = dict(zip(reading.places, reading.items, strict=True))
        results |= reading.errors
        for place, url in urls.items():
            image = images[url]
            results[place] = image.at(f"{param}[{place}]") if isinstance(image, ApiError) else image
        return split([results[place] for place in range(reading.width)])

    def _read_texts(self, raw: list[object], param: str) -> Reading:
        return split(read_all(self._reader, raw, plain="text", wanted="text", param=param))

    def _remember(self, key: tuple[object, ...], reading: Reading) -> None:
        try:
            self._texts.insert(key, reading)
        except OverflowError:
            return


def _url(raw: object) -> str:
    match raw:
        case {"image_url": {"url": str(url)}}:
            return url
    raise TypeError("an item that is no URL was taken for one")


def split(results: Sequence[Item | ApiError]) -> Reading:
    """The reading of a list, from what each place of it was read as."""
    items = [result for result in results if isinstance(result, Item)]
    name = b"".join([item.digest for item in items])
    if len(items) == len(results):
        return Reading(tuple(items), range(len(items)), {}, name)
    errors = {place: result for place, result in enumerate(results) if isinstance(result, ApiError)}
    places = [place for place in range(len(results)) if place not in errors]
    return Reading(tuple(items), places, errors, name)


def _weigh(key: tuple[object, ...], _: Reading) -> int:
    return BYTES_PER_LIST + BYTES_PER_TEXT * len(key) + sum(sys.getsizeof(text) for text in key)
