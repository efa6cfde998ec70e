"""Which answers are wrong, by the models themselves."""

from collections.abc import Iterator, Sequence

import numpy as np

from tests.direct_model import DirectModel, Matrix
from tests.faults.load import SCENES, Exchange, scene_picture, texts_of

BATCH = 64
TOLERANCE = 3e-3
"""Stored embeddings are rounded to float16, and pictures are prepared to within rounding of what open_clip does."""


class Judge:
    """Both demo models, called without the service."""

    def __init__(self) -> None:
        self._models = {tier: DirectModel(tier) for tier in ("fast", "accurate")}
        scenes = [scene_picture(scene) for scene in range(SCENES)]
        self._scenes = {tier: model.images(scenes) for tier, model in self._models.items()}

    def wrong(self, exchanges: Sequence[Exchange]) -> list[Exchange]:
        """Those whose similarities are not the ones of the model that the answer names."""
        found: list[Exchange] = []
        for tier in self._models:
            answered = [one for one in exchanges if one.tiering.get("tier") == tier]
            for first in range(0, len(answered), BATCH):
                found += self._wrong_of(tier, answered[first : first + BATCH])
        return found

    def _wrong_of(self, tier: str, batch: Sequence[Exchange]) -> Iterator[Exchange]:
        texts = [texts_of(one.seed) for one in batch]
        rows = self._models[tier].texts([text for some in texts for text in some])
        rows_of_each = rows.reshape(len(batch), len(texts[0]), -1)
        for one, own_rows in zip(batch, rows_of_each, strict=True):
            if not _agrees(one, own_rows @ self._scenes[tier][one.seed % SCENES]):
                yield one


def _agrees(exchange: Exchange, expected: Matrix) -> bool:
    (item,) = exchange.body["data"]
    is_best = item["cosine"][item["best"]] == max(item["cosine"])
    return is_best and bool(np.abs(np.asarray(item["cosine"]) - expected).max() < TOLERANCE)
