"""Stand-ins written by hand: a clock that is set, a tier without a model, and a router built upon them."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from cache.codec import Codec
from cache.keys import ContentHasher
from cache.local_lru import LocalStore
from cache.store import Store
from cache.two_level import EmbeddingCache, Stored, stored_bytes
from router.admission import Admission, AdmissionConfig
from router.api import Api
from router.auditor import Auditor, Recorder
from router.breaker import BreakerConfig, CircuitBreaker
from router.cascade import Cascade
from router.config import LimitsConfig, RouterConfig
from router.deadline import Deadline
from router.embedder import Embedder
from router.items import Item, ItemReader
from router.outcome import Question
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.readiness import Readiness
from router.readings import ListReader
from router.schemas import TierChoice
from router.service import Service
from router.tenants import SharedReader
from router.tier_calls import TierCalls
from tiers.errors import ItemCode
from tiers.messages import EncodeCall, EncodeReply, ItemFailure, ModelDescription

Vector = NDArray[np.float32]
Content = bytes | str

DIMENSION = 8
PATIENCE_S = 5.0
FAST_MODEL = ModelDescription(
    model="tiny-fast",
    revision="f1",
    preprocessing="1-test",
    precision="fp32",
    dimension=DIMENSION,
    logit_scale=10.0,
    logit_bias=0.0,
    has_sigmoid=False,
    context_length=16,
    image_size=(32, 32),
)
ACCURATE_MODEL = replace(FAST_MODEL, model="tiny-accurate", revision="a1")
READER = ItemReader(ContentHasher(b"a secret of tests"), text_chars=64)


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def mixture(*cosines: float) -> Vector:
    """A unit vector with these cosines to the first axes; what is left of its length lies on the last axis."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[: len(cosines)] = cosines
    vector[-1] = np.sqrt(max(0.0, 1.0 - float(vector @ vector)))
    return vector


def content_vector(content: Content, salt: str) -> Vector:
    """A unit vector that depends on the content and on nothing else but the salt."""
    data = content if isinstance(content, bytes) else content.encode()
    seed = int.from_bytes(hashlib.sha256(salt.encode() + data).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


class FakeTierHandle:
    """A tier without a model: embeds by content, fails as told, and can be held in the middle of a call.

    `faults` are raised by the next calls, one each; `fault` by every call. `bad_items` fail alone. `vectors`
    says where a content lies; all others lie where their hash puts them.
    """

    def __init__(self, description: ModelDescription = FAST_MODEL) -> None:
        self.description = description
        self.calls: list[EncodeCall] = []
        self.timeouts_s: list[float] = []
        self.described = 0
        self.replica = ""
        self.fault: Exception | None = None
        self.faults: deque[Exception] = deque()
        self.bad_items: dict[Content, ItemCode] = {}
        self.vectors: dict[Content, Vector] = {}
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._was_called = asyncio.Event()
        self._was_cancelled = asyncio.Event()

    async def encode(self, call: EncodeCall, timeout_s: float) -> EncodeReply:
        """Embed a call's items, after whatever was arranged."""
        self.calls.append(call)
        self.timeouts_s.append(timeout_s)
        self._was_called.set()
        fault = self.faults.popleft() if self.faults else self.fault
        try:
            await self._may_answer.wait()
        except asyncio.CancelledError:
            self._was_cancelled.set()
            raise
        if fault is not None:
            raise fault
        return self.reply(call)

    async def describe(self, timeout_s: float) -> ModelDescription:
        """Describe the model, or raise what every call raises."""
        self.described += 1
        if self.fault is not None:
            raise self.fault
        return self.description

    def reply(self, call: EncodeCall) -> EncodeReply:
        """What a replica would answer."""
        contents: list[Content] = [*call.images, *call.texts]
        rows = np.zeros((len(contents), self.description.dimension), dtype="<f4")
        failures = []
        for index, content in enumerate(contents):
            if content in self.bad_items:
                failures.append(ItemFailure(index, self.bad_items[content], f"{self.bad_items[content]} item"))
            else:
                rows[index] = self.vector(content)
        return EncodeReply(
            revision=self.description.revision,
            dimension=self.description.dimension,
            vectors=rows.tobytes(),
            token_counts=tuple(count_tokens(text) for text in call.texts),
            failures=tuple(failures),
            replica=self.replica,
        )

    def vector(self, content: Content) -> Vector:
        """Where a content lies in this tier's space."""
        placed = self.vectors.get(content)
        return content_vector(content, self.description.revision) if placed is None else placed

    def hold(self) -> None:
        """Keep calls from being answered."""
        self._may_answer.clear()

    def release(self) -> None:
        """Let held calls go on."""
        self._may_answer.set()

    async def called(self, times: int = 1) -> None:
        """Wait until so many calls have come in."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.calls) < times:
                self._was_called.clear()
                await self._was_called.wait()

    async def was_cancelled(self) -> None:
        """Wait until a call has been cancelled."""
        async with asyncio.timeout(PATIENCE_S):
            await self._was_cancelled.wait()

    @property
    def items(self) -> int:
        """Items in all calls so far."""
        return sum(len(call) for call in self.calls)


def count_tokens(text: str) -> int:
    """Tokens of a text in the fake tiers: its words, a start and an end."""
    return len(text.split()) + 2


def image(content: bytes) -> Item:
    """An image with its content, as the service reads it."""
    return READER.read(content, "image")


def text(content: str) -> Item:
    """A text with its content, as the service reads it."""
    return READER.read(content, "text")


def by_key(item: Item) -> Item:
    """The same item when only its key was sent."""
    return READER.read({"key": item.key}, "text")


def question(
    images: tuple[Item, ...],
    texts: tuple[Item, ...],
    threshold: float | None = None,
    tier: TierChoice = "auto",
) -> Question:
    """A question about items that were read."""
    return Question(images, texts, threshold, tier, b"".join(item.digest for item in texts))


def make_cache(l1_bytes: int = 2**20, shared: Store | None = None) -> EmbeddingCache:
    """A cache in this process, over a shared store or alone."""
    local: LocalStore[Stored] = LocalStore(l1_bytes, size_of=stored_bytes)
    return EmbeddingCache(local, shared, Codec())


class SlowStore(LocalStore[bytes]):
    """A shared store in this process, in whose lookups something else may happen."""

    def __init__(self) -> None:
        super().__init__(2**20, size_of=len)
        self.meanwhile: Callable[[], None] = lambda: None

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Look up, and let happen what was arranged."""
        found = await super().get_many(keys)
        self.meanwhile()
        return found


@dataclass(slots=True)
class FakeTier:
    """One tier of a router under test."""

    handle: FakeTierHandle
    breaker: CircuitBreaker
    calls: TierCalls
    embedder: Embedder


def make_tier(
    clock: Clock,
    cache: EmbeddingCache | None = None,
    *,
    description: ModelDescription = FAST_MODEL,
    breaker: BreakerConfig | None = None,
    admission: AdmissionConfig | None = None,
    **config: int,
) -> FakeTier:
    """A tier that has come up; `config` are fields of `RouterConfig`."""
    handle = FakeTierHandle(description)
    circuit_breaker = CircuitBreaker(breaker)
    bounds = Admission(admission or AdmissionConfig())
    calls = TierCalls(handle, circuit_breaker, bounds, RouterConfig.model_validate(config), clock)
    embedder = Embedder(calls, cache or make_cache(), "float32", clock)
    embedder.use(description)
    return FakeTier(handle, circuit_breaker, calls, embedder)


class FakeRouter:
    """Everything between the API and two fake tiers, on one clock.

    Texts "cat" and "dog" lie on the first two axes, so that `mixture(0.6, 0.5)` is an image whose margin is
    one logit (the scale is ten). Both tiers know these texts.
    """

    def __init__(self, cache: EmbeddingCache | None = None) -> None:
        self.clock = Clock()
        self.cache = cache or make_cache()
        self.fast = make_tier(self.clock, self.cache)
        self.accurate = make_tier(self.clock, self.cache, description=ACCURATE_MODEL)
        self.cascade = Cascade(self.fast.embedder, self.accurate.embedder, self.cache, clock=self.clock)
        for tier in (self.fast, self.accurate):
            tier.handle.vectors |= {"cat": mixture(1.0), "dog": mixture(0.0, 1.0)}

    def audit(self, log: Recorder) -> Auditor:
        """Have all questions from now on audited, at the policy's share, into `log`."""
        fast, accurate = self.fast.embedder, self.accurate.embedder
        auditor = Auditor(fast, accurate, log, clock=self.clock, wall_clock=self.clock)
        self.cascade = Cascade(fast, accurate, self.cache, auditor, clock=self.clock)
        return auditor

    def place(self, content: bytes, *, fast: Sequence[float], accurate: Sequence[float]) -> Item:
        """An image with these cosines to the texts "cat" and "dog" on each tier."""
        self.fast.handle.vectors[content] = mixture(*fast)
        self.accurate.handle.vectors[content] = mixture(*accurate)
        return image(content)

    def deadline(self, seconds: float = PATIENCE_S) -> Deadline:
        """A deadline so many seconds from now."""
        return Deadline(self.clock.now + seconds)

    def make_service(self, **changes: Any) -> Service:
        """What the API stands on; `changes` replace its parts."""
        service = Service(
            cascade=self.cascade,
            cache=self.cache,
            fast=self.fast.embedder,
            accurate=self.accurate.embedder,
            readers=SharedReader(ListReader(READER)),
            limits=LimitsConfig(body_bytes=100_000, images=4, texts=5, text_chars=64),
            readiness=Readiness(self.fast.embedder, self.accurate.embedder, self.clock),
            policy=PolicyInForce(Policy(threshold=1.0)),
            deadline_s=30.0,
            max_in_flight=10,
        )
        return replace(service, **changes)

    def client(self, **changes: Any) -> httpx.AsyncClient:
        """A client of the API; `changes` replace parts of what it stands on."""
        transport = httpx.ASGITransport(Api(self.make_service(**changes), self.clock))
        return httpx.AsyncClient(transport=transport, base_url="http://router")
