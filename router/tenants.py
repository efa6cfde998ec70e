"""Whose cache a request looks into: each tenant reads and keeps items under names that nobody else has."""

from collections import OrderedDict
from typing import Protocol

from cache.keys import ContentHasher, ImageDigest, tenant_secret
from router.config import AppArgs
from router.items import ItemReader
from router.readings import MEMORY_BYTES, ImageFetcher, ListReader

MOST_READERS = 64
BYTES_PER_READER = MEMORY_BYTES // 8
"""Of remembered lists: tenants share in what one deployment would remember."""


class Readers(Protocol):
    """Where the API gets the reader of a request's lists from."""

    def of(self, tenant: str) -> ListReader:
        """The reader for a tenant's requests."""
        ...


class SharedReader:
    """One reader for all."""

    def __init__(self, reader: ListReader) -> None:
        self._reader = reader

    def of(self, tenant: str) -> ListReader:  # noqa: ARG002 - of all
        """The one reader."""
        return self._reader


class TenantReaders:
    """A reader for each tenant. Under a secret of its own, so that equal inputs have keys that differ.

    The least recently used goes when there are too many; with it goes only what it remembers of lists.
    """

    def __init__(
        self, secret: bytes, image_digest: ImageDigest, text_chars: int, *, fetcher: ImageFetcher | None = None
    ) -> None:
        self._secret = secret
        self._image_digest: ImageDigest = image_digest
        self._text_chars = text_chars
        self._fetcher = fetcher
        self._readers: OrderedDict[str, ListReader] = OrderedDict()

    def of(self, tenant: str) -> ListReader:
        """The tenant's own reader."""
        reader = self._readers.get(tenant)
        if reader is None:
            reader = self._readers[tenant] = self._make(tenant)
            if len(self._readers) > MOST_READERS:
                self._readers.popitem(last=False)
        else:
            self._readers.move_to_end(tenant)
        return reader

    def _make(self, tenant: str) -> ListReader:
        hasher = ContentHasher(tenant_secret(self._secret, tenant), self._image_digest)
        return ListReader(ItemReader(hasher, self._text_chars, tenant), BYTES_PER_READER, fetcher=self._fetcher)


def readers_for(args: AppArgs, secret: bytes, *, has_keys: bool, fetcher: ImageFetcher | None = None) -> Readers:
    """Return what a deployment reads lists with: with keys each tenant its own, unless they are to share the cache."""
    digest: ImageDigest = "blake2b" if has_keys or args.cache.image_digest == "blake2b" else "xxh3_128"
    text_chars = args.limits.text_chars
    if has_keys and not args.access.share_cache:
        return TenantReaders(secret, digest, text_chars, fetcher=fetcher)
    return SharedReader(ListReader(ItemReader(ContentHasher(secret, digest), text_chars), fetcher=fetcher))
