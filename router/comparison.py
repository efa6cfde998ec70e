"""Images against texts in one tier's space: what is embedded, what is missing, what failed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from router.confidence import Scale, Verdict, judge
from router.embedder import Embedding
from router.errors import ApiError, BadImage, InternalError, TooLarge, UnknownKey
from router.items import Item

TEXTS_OWN_FAULTS = (TooLarge, BadImage, UnknownKey, InternalError)


class Comparison:
    """One question in one tier's space. Positions count images first, then texts."""

    def __init__(self, images: Sequence[Item], texts: Sequence[Item], cached: Sequence[Embedding | None]) -> None:
        self.items = (*images, *texts)
        self._images = len(images)
        self._results: list[Embedding | ApiError | None] = list(cached)
        self._text_matrix: NDArray[np.float32] | None = None

    def missing(self, images: Sequence[int]) -> list[int]:
        """Positions that these images' comparison still lacks: of the images themselves, and of texts."""
        if not images:
            return []
        texts = range(self._images, len(self.items))
        return [i for i in (*images, *texts) if self._results[i] is None]

    def fill(self, positions: Sequence[int], results: Sequence[Embedding | ApiError]) -> None:
        """Take over what a tier answered."""
        for position, result in zip(positions, results, strict=True):
            self._results[position] = result
        self._text_matrix = None

    def is_complete(self, image: int) -> bool:
        """Whether the image and every text have embeddings."""
        return isinstance(self._results[image], Embedding) and all(
            isinstance(result, Embedding) for result in self._texts
        )

    def image_error(self, image: int) -> ApiError | None:
        """The image's own error."""
        result = self._results[image]
        return result if isinstance(result, ApiError) else None

    def error_for(self, image: int) -> ApiError | None:
        """Why the image can't be compared: its own error, or a text's that is not the text's fault."""
        return self.image_error(image) or self._systemic_text_error() or self._every_text_failed()

    def raise_if_texts_failed(self) -> None:
        """Raise what kept texts from being embedded, unless it is those texts' own fault and others are left.

        Raises:
            ApiError: There is nothing to compare with.
        """
        error = self._systemic_text_error() or self._every_text_failed()
        if error is not None:
            raise error

    def judge(self, image: int, scale: Scale, threshold: float | None) -> Verdict:
        """Compare an image with the texts that have embeddings."""
        result = self._results[image]
        if not isinstance(result, Embedding):
            raise TypeError(f"image {image} has no embedding")
        if self._text_matrix is None:
            embedded = [(i, r) for i, r in enumerate(self._texts) if isinstance(r, Embedding)]
            self._text_matrix = np.stack([r.vector for _, r in embedded])
            self._columns = tuple(i for i, _ in embedded)
        return judge(self._text_matrix @ result.vector, scale, threshold)

    @property
    def columns(self) -> tuple[int, ...]:
        """Positions, among the texts, of those that were embedded."""
        return tuple(i for i, r in enumerate(self._texts) if isinstance(r, Embedding))

    def image_hit(self, image: int) -> bool:
        """Whether the image's embedding came from the cache."""
        result = self._results[image]
        return isinstance(result, Embedding) and result.is_hit

    @property
    def text_cache_use(self) -> tuple[int, int]:
        """How many texts' embeddings came from the cache, and how many did not."""
        hits = sum(isinstance(r, Embedding) and r.is_hit for r in self._texts)
        return hits, len(self._texts) - hits

    @property
    def text_errors(self) -> dict[int, ApiError]:
        """Texts that failed alone, by position among the texts."""
        return {i: r for i, r in enumerate(self._texts) if isinstance(r, ApiError)}

    @property
    def token_count(self) -> int:
        """Tokens of the texts, start and end included."""
        return sum(r.token_count for r in self._texts if isinstance(r, Embedding))

    @property
    def _texts(self) -> list[Embedding | ApiError | None]:
        return self._results[self._images :]

    def _systemic_text_error(self) -> ApiError | None:
        for result in self._texts:
            if isinstance(result, ApiError) and not isinstance(result, TEXTS_OWN_FAULTS):
                return result
        return None

    def _every_text_failed(self) -> ApiError | None:
        errors = self.text_errors
        return errors[0] if errors and len(errors) == len(self._texts) else None
