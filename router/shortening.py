"""Shorter embeddings of models that were trained for it (Matryoshka). Pure."""

from collections.abc import Sequence

import numpy as np

from router.embedder import Embedding


def shorten(embeddings: Sequence[Embedding], dimensions: int | None) -> Sequence[Embedding]:
    """Return the embeddings' first `dimensions` numbers, of unit length again; all of them where it is None."""
    if dimensions is None:
        return embeddings
    return [_shortened(embedding, dimensions) for embedding in embeddings]


def _shortened(embedding: Embedding, dimensions: int) -> Embedding:
    vector = embedding.vector[:dimensions].astype(np.float64)  # whose squares do not vanish
    length = float(np.linalg.norm(vector))
    return embedding._replace(vector=(vector / length if length > 0 else vector).astype(np.float32))
