"""Content keys: what makes two inputs the same entry, and nothing else.

A digest is one tag byte (modality and algorithm) and 128 bits; a storage key is an embedding space's
128-bit name and a digest. An image and a text never share a digest, whatever their bytes.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import xxhash

from cache.errors import InvalidKey

Modality = Literal["image", "text"]
ImageDigest = Literal["xxh3_128", "blake2b"]

HASH_BYTES = 16
DIGEST_BYTES = 1 + HASH_BYTES
NAMESPACE_BYTES = 16
MIN_SECRET_BYTES = 16

_IMAGE_XXH3, _IMAGE_BLAKE2, _TEXT_BLAKE2 = b"\x01", b"\x02", b"\x03"
_MODALITY_OF: dict[int, Modality] = {1: "image", 2: "image", 3: "text"}
_PUBLIC_KEY = re.compile(r"(i:0[12]|t:03)[0-9a-f]{32}")
_PREFIX_OF: dict[Modality, str] = {"image": "i:", "text": "t:"}


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Everything besides the input which changes a vector; two that differ anywhere share no entry."""

    modality: Modality
    model: str
    revision: str
    preprocessing: str
    precision: str
    tenant_salt: str


def namespace(space: EmbeddingSpace) -> bytes:
    """Return the 16-byte name of an embedding space: a digest over its length-prefixed fields."""
    fields = (
        space.modality,
        space.model,
        space.revision,
        space.preprocessing,
        space.precision,
        space.tenant_salt,
    )
    name = hashlib.blake2b(digest_size=NAMESPACE_BYTES, person=b"secondlook-space")
    for part in _prefix_lengths(fields):
        name.update(part)
    return name.digest()


def _prefix_lengths(fields: Iterable[str]) -> Iterable[bytes]:
    for field in fields:
        data = field.encode("utf-8", "surrogatepass")
        yield len(data).to_bytes(8, "little")
        yield data


class ContentHasher:
    """Digests inputs under a deployment's secret, so that nobody outside can make two of them collide."""

    __slots__ = ("_image_key", "_image_seed", "_text_hash", "_uses_blake2b")

    def __init__(self, secret: bytes, image_digest: ImageDigest = "xxh3_128") -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"secret: expected at least {MIN_SECRET_BYTES} bytes, got {len(secret)}")
        self._image_seed = int.from_bytes(_derive(secret, b"image seed", 8), "little")
        self._image_key = _derive(secret, b"image key", 32)
        # Copied for each text: a third less time than a new hash with its key.
        self._text_hash = hashlib.blake2b(digest_size=HASH_BYTES, key=_derive(secret, b"text key", 32))
        self._uses_blake2b = image_digest == "blake2b"

    def image(self, data: bytes | memoryview) -> bytes:
        """Return the 17-byte digest of an image's bytes as they were received."""
        if self._uses_blake2b:
            return _IMAGE_BLAKE2 + hashlib.blake2b(data, digest_size=HASH_BYTES, key=self._image_key).digest()
        return _IMAGE_XXH3 + xxhash.xxh3_128_digest(data, self._image_seed)

    def text(self, text: str) -> bytes:
        """Return the 17-byte digest of a text; lone surrogates count as the code points they are."""
        digest = self._text_hash.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return _TEXT_BLAKE2 + digest.digest()


def tenant_secret(secret: bytes, tenant: str) -> bytes:
    """Return a tenant's own secret: under it, inputs have digests that say nothing to other tenants."""
    return _derive(secret, b"tenant " + tenant.encode(), 32)


def _derive(secret: bytes, purpose: bytes, size: int) -> bytes:
    root = hashlib.blake2b(secret, digest_size=32, person=b"secondlook-key").digest()
    return hashlib.blake2b(purpose, digest_size=size, key=root).digest()


def storage_key(namespace: bytes, digest: bytes) -> bytes:
    """Return the 33-byte key under which a vector is stored."""
    if len(namespace) != NAMESPACE_BYTES or len(digest) != DIGEST_BYTES:
        raise InvalidKey("a storage key is a 16-byte namespace and a 17-byte digest")
    return namespace + digest


def public_key(digest: bytes, modality: Modality) -> str:
    """Return the form in which callers name an input: `i:` or `t:` and the digest in hex."""
    if len(digest) != DIGEST_BYTES or _MODALITY_OF.get(digest[0]) != modality:
        raise InvalidKey(f"not a digest of an input of modality {modality}")
    return _PREFIX_OF[modality] + digest.hex()


def parse_public_key(key: str) -> bytes:
    """Return the digest that a public key names.

    Raises:
        InvalidKey: The key is not one that `public_key` makes.
    """
    if _PUBLIC_KEY.fullmatch(key) is None:
        raise InvalidKey(f"expected i: or t: and {2 * DIGEST_BYTES} lowercase hex digits, of a digest of that modality")
    return bytes.fromhex(key[2:])
