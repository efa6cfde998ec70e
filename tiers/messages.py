"""What travels between a router and a replica: a few flat fields, bytes for vectors, cheap to pickle."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiers.errors import ItemCode

FloatMatrix = NDArray[np.float32]
# Warm-up gets a small share of each tier and yields to live traffic.
TrafficClass = Literal["live", "warm_up"]
Modality = Literal["image", "text"]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a router has to know of a tier's model to key, compare and report its embeddings."""

    model: str
    revision: str
    preprocessing: str
    precision: str
    dimension: int
    logit_scale: float
    logit_bias: float
    has_sigmoid: bool
    context_length: int
    image_size: tuple[int, int]
    is_matryoshka: bool = False
    """Whether the first numbers of an embedding are an embedding of their own."""

    @property
    def identity(self) -> str:
        """`id@revision`, as answers name the model."""
        return f"{self.model}@{self.revision}"


@dataclass(frozen=True, slots=True)
class EncodeCall:
    """Items for one replica: encoded image files, then texts. `budget_s` is what is left of the deadline."""

    images: tuple[bytes, ...]
    texts: tuple[str, ...]
    budget_s: float
    traffic: TrafficClass = "live"

    def __len__(self) -> int:
        return len(self.images) + len(self.texts)


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why one item of a call has no vector. `index` counts images first, then texts."""

    index: int
    code: ItemCode
    message: str


@dataclass(frozen=True, slots=True)
class EncodeReply:
    """Vectors of a call's items, images first: float32, little-endian, `len(call)` x `dimension`, unit length.

    A failed item's row is zero and its failure is listed. `token_counts` has one entry a text, start and end
    tokens included, before any cut to the model's context. `encode_ms` is what the call took in the replica,
    `service_ms` what its items would take, in a batch as they have been lately, if nothing waited before them.
    `image_ms` is the encoder's time that an image has lately taken, in batches as they were; 0: none has yet.
    `replica` tells replicas apart.
    """

    revision: str
    dimension: int
    vectors: bytes
    token_counts: tuple[int, ...]
    failures: tuple[ItemFailure, ...] = field(default=())
    encode_ms: float = 0.0
    service_ms: float = 0.0
    image_ms: float = 0.0
    replica: str = ""

    def matrix(self) -> FloatMatrix:
        """The vectors as a read-only array, shape (items, dimension)."""
        return np.frombuffer(self.vectors, dtype="<f4").reshape(-1, self.dimension)
