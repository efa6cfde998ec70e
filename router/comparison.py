"""Images against texts in one tier's space: what is embedded, what is missing, what failed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.confidence import Scale, Verdict, judge
from router.embedder import Embedding
from router.errors import ApiError, BadImage, InternalError, TooLarge, UnknownKey, UnsupportedMedia
from router.items import Item
from tiers.messages import ModelDescription

TEXTS_OWN_FAULTS = (TooLarge, BadImage, UnknownKey, UnsupportedMedia, InternalError)
_CANDIDATE = re.compile(r"texts\[(\d+)\]")
Results = Sequence[Embedding | ApiError | None]


@dataclass(frozen=True, slots=True)
class _Texts:
    """What is known of the texts at one moment, worked out in one pass."""

    count: int
    columns: tuple[int, ...]
    matrix: NDArray[np.float32]
    hits: int
    token_count: int
    longest: int
    errors: dict[int, ApiError]

    @classmethod
    def of(cls, results: Results) -> "_Texts":
        columns, vectors, hits, tokens, longest = [], [], 0, 0, 0
        errors: dict[int, ApiError] = {}
        for i, result in enumerate(results):
            if isinstance(result, Embedding):
                columns.append(i)
                vectors.append(result.vector)
                hits += result.is_hit
                tokens += result.token_count
                longest = max(longest, result.token_count)
            elif result is not None:
                errors[i] = result
        matrix = np.array(vectors, dtype=np.float32)
        return cls(len(results), tuple(columns), matrix, hits, tokens, longest, errors)

    @property
    def blocking_error(self) -> ApiError | None:
        """Why there is nothing to compare with: a fault that is not a text's own, or every text's failure."""
        for error in self.errors.values():
            if not isinstance(error, TEXTS_OWN_FAULTS):
                return error
        return self.errors[0].at("texts[0]") if self.errors and len(self.errors) == self.count else None


def at_callers_place(error: ApiError, names: Sequence[str]) -> ApiError:
    """The error under the caller's name for a candidate, where it names one as `texts[i]`: it is `names[i]`."""
    match = _CANDIDATE.fullmatch(error.param or "")
    return error if match is None else error.at(names[int(match[1])])


class Comparison:
    """One question in one tier's space. Positions count images first, then texts."""

    def __init__(self, images: Sequence[Item], texts: Sequence[Item]) -> None:
        self.items = (*images, *texts)
        self.model: ModelDescription | None = None
        self.has_begun = False
        self._images = len(images)
        self._results: list[Embedding | ApiError | None] = [None] * len(self.items)
        self._known: _Texts | None = None

    def begin(self, model: ModelDescription | None, cached: Sequence[Embedding | None]) -> None:
        """Take over what the cache had, in the space of `model`."""
        self.has_begun = True
        self.model = model
        self._results = list(cached)
        self._known = None

    def fill(self, positions: Sequence[int], results: Sequence[Embedding | ApiError]) -> None:
        """Take over what a tier answered."""
        for position, result in zip(positions, results, strict=True):
            self._results[position] = result
        self._known = None

    def missing(self, images: Sequence[int]) -> list[int]:
        """Positions that these images' comparison still lacks: of the images themselves, and of texts."""
        if not images:
            return []
        texts = range(self._images, len(self.items))
        return [i for i in (*images, *texts) if self._results[i] is None]

    def is_complete(self, image: int) -> bool:
        """Whether the image and every text have embeddings."""
        return isinstance(self._results[image], Embedding) and len(self._texts.columns) == self._texts.count

    def image_error(self, image: int) -> ApiError | None:
        """The image's own error."""
        result = self._results[image]
        return result if isinstance(result, ApiError) else None

    def error_for(self, image: int, columns: tuple[int, ...]) -> ApiError | None:
        """Why the image can't be compared with just these texts: its own error, or that of one of them."""
        errors = self._texts.errors
        lost = next((errors[i].at(f"texts[{i}]") for i in columns if i in errors), None)
        return self.image_error(image) or self._texts.blocking_error or lost

    def raise_if_texts_failed(self) -> None:
        """Raise what kept texts from being embedded, unless it is those texts' own fault and others are left.

        Raises:
            ApiError: There is nothing to compare with.
        """
        error = self._texts.blocking_error
        if error is not None:
            raise error

    def judge(self, image: int, threshold: float | None) -> Verdict:
        """Compare an image with the texts that have embeddings, on the scale of the model that made them."""
        result, model = self._results[image], self.model
        if not isinstance(result, Embedding) or model is None:
            raise TypeError(f"image {image} has no embedding")
        scale = Scale(model.logit_scale, model.logit_bias, model.has_sigmoid)
        return judge(self._texts.matrix @ result.vector, scale, threshold)

    @property
    def columns(self) -> tuple[int, ...]:
        """Positions, among the texts, of those that were embedded."""
        return self._texts.columns

    def image_hit(self, image: int) -> bool:
        """Whether the image's embedding came from the cache."""
        result = self._results[image]
        return isinstance(result, Embedding) and result.is_hit

    @property
    def text_cache_use(self) -> tuple[int, int]:
        """How many texts' embeddings came from the cache, and how many did not."""
        return self._texts.hits, self._texts.count - self._texts.hits

    @property
    def text_errors(self) -> dict[int, ApiError]:
        """Texts that failed alone, by position among the texts."""
        return self._texts.errors

    @property
    def token_count(self) -> int:
        """Tokens of the texts, start and end included, in whichever role they are; images have none."""
        return self._texts.token_count + sum(self._own_token_counts)

    @property
    def is_truncated(self) -> bool:
        """Whether a text was longer than the model's context."""
        longest = max(self._texts.longest, *self._own_token_counts, 0)
        return self.model is not None and longest > self.model.context_length

    @property
    def _own_token_counts(self) -> list[int]:
        return [one.token_count for one in self._results[: self._images] if isinstance(one, Embedding)]

    @property
    def _texts(self) -> _Texts:
        if self._known is None:
            self._known = _Texts.of(self._results[self._images :])
        return self._known
