"""Make training batches without end: pictures, captions, hard negatives and the truth of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from demo.captions import Wording, hard_negatives, sample_claim, say
from demo.engine import open_clip
from demo.labels import claim_row, fill, object_rows, scene_row, truth
from demo.scenes import Scene, Split, render, sample_scene
from demo.vocabulary import VOCABULARY_PATH

CONTEXT_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """Scenes with `1 + hard` captions each, the true one first; no pixels where none were asked.

    `caption_scenes` gives a scene for each caption: the pictured one for a true caption, an
    imagined one for a negative. `is_true` tells for each of these scenes (rows) which of all
    captions of the batch (columns) are true of it.
    """

    pixels: torch.Tensor
    objects: torch.Tensor
    tokens: torch.Tensor
    caption_scenes: torch.Tensor
    is_true: torch.Tensor


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What the batches of a run hold."""

    seed: int
    scenes: int
    hard: int
    image_size: int | None
    split: Split = Split.TRAIN
    negative_split: Split | None = Split.TRAIN
    """Which compositions hard negatives may name; None means all."""


class WordTokenizer:
    """Give the tokens of open_clip's tokenizer for lower-case words, each encoded once."""

    def __init__(self) -> None:
        self._tokenizer = open_clip.SimpleTokenizer(str(VOCABULARY_PATH), context_length=CONTEXT_LENGTH)
        self._words: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Encode a caption, padded to the context length."""
        tokens = [self._tokenizer.sot_token_id]
        for word in text.split():
            if word not in self._words:
                self._words[word] = self._tokenizer.encode(word)
            tokens += self._words[word]
        tokens.append(self._tokenizer.eot_token_id)
        return tokens + [0] * (CONTEXT_LENGTH - len(tokens))


class Batches(IterableDataset[Batch]):
    """An endless stream of batches, different in each worker, the same from the same seed."""

    def __init__(self, plan: BatchPlan) -> None:
        super().__init__()
        self._plan = plan

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches for ever."""
        worker = get_worker_info()
        generator = np.random.default_rng([self._plan.seed, worker.id if worker else 0])
        tokenizer = WordTokenizer()
        while True:
            yield make_batch(self._plan, generator, tokenizer)


def stream(plan: BatchPlan, workers: int = 1) -> Iterator[Batch]:
    """Make batches in processes beside this one."""
    loader = DataLoader(Batches(plan), batch_size=None, num_workers=workers, prefetch_factor=4)
    return cast(Iterator[Batch], iter(loader))


def make_batch(plan: BatchPlan, generator: np.random.Generator, tokenizer: WordTokenizer) -> Batch:
    """Draw one batch."""
    scenes = [sample_scene(generator, plan.split) for _ in range(plan.scenes)]
    tokens: list[list[int]] = []
    claims: list[list[int]] = []
    for scene in scenes:
        claim, wording = sample_claim(scene, generator), Wording.sample(generator)
        negatives = hard_negatives(scene, claim, wording, generator, count=plan.hard, split=plan.negative_split)
        tokens += map(tokenizer, [say(claim, wording), *(item.text for item in negatives)])
        claims += map(claim_row, [claim, *(item.claim for item in negatives)])
    scene_rows = np.array([scene_row(scene) for scene in scenes])
    claim_rows = np.array(claims)
    caption_scenes = fill(claim_rows, np.repeat(scene_rows, 1 + plan.hard, axis=0))
    caption_scenes[:: 1 + plan.hard] = scene_rows
    return Batch(
        _pixels(scenes, plan.image_size),
        torch.tensor([object_rows(scene) for scene in scenes]),
        torch.tensor(tokens),
        torch.from_numpy(caption_scenes),
        torch.from_numpy(truth(claim_rows, caption_scenes)),
    )


def _pixels(scenes: list[Scene], image_size: int | None) -> torch.Tensor:
    if image_size is None:
        return torch.empty(0)
    pictures = [_resized(render(scene), image_size) for scene in scenes]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))


def _resized(picture: Image.Image, image_size: int) -> Image.Image:
    """Resize as open_clip's transform does."""
    if picture.size == (image_size, image_size):
        return picture
    return picture.resize((image_size, image_size), Image.Resampling.BICUBIC)
