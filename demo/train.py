"""Train both models from a seed on two CPU cores.

    python -m demo.train text
    python -m demo.train accurate
    python -m demo.train fast

The first command trains the teacher and both text towers on descriptions alone; the others train
an image tower each, with the text tower frozen, and write the model's directory.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from demo.batches import Batch, BatchPlan, stream
from demo.engine import open_clip
from demo.losses import DenseHeads, contrast, hit_rate
from demo.scenes import Split
from demo.teacher import Teacher
from demo.towers import (
    EMBEDDING_WIDTH,
    TOWERS,
    FeatureTap,
    Tier,
    build,
    build_for_text_stage,
    embed_texts,
    normalise,
    save,
    text_parameters,
)

LOG = logging.getLogger("demo.train")
CHECKPOINTS_PATH = Path(__file__).parent / "checkpoints"
HARD_NEGATIVES = 3
STRIDE = 1 + HARD_NEGATIVES
REPORT_EVERY = 50
VALIDATE_EVERY = 200
VALIDATION_SEED = 77
VALIDATION_BATCHES = 6
MAX_LOG_SCALE = math.log(100.0)
WEIGHT_DECAY = 0.02
WARM_UP_SHARE = 0.05
TEACHER_WEIGHT = 4.0
DENSE_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a stage learns."""

    steps: int
    scenes: int
    learning_rate: float
    seed: int


TEXT_SCHEDULE = Schedule(steps=1800, scenes=96, learning_rate=1.5e-3, seed=1)
IMAGE_SCHEDULES = {
    Tier.FAST: Schedule(steps=2000, scenes=128, learning_rate=3e-3, seed=5),
    Tier.ACCURATE: Schedule(steps=1200, scenes=128, learning_rate=2e-3, seed=3),
}


class Learner:
    """AdamW with a warm-up and a cosine decay counted in steps."""

    def __init__(self, parameters: list[nn.Parameter], schedule: Schedule) -> None:
        self._schedule = schedule
        matrices = [item for item in parameters if item.ndim > 1]
        others = [item for item in parameters if item.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
        ]
        self._parameters = parameters
        self._optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))

    def learn(self, loss: torch.Tensor, step: int) -> None:
        """Take one step down the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(step)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()

    def _rate(self, step: int) -> float:
        done = step / self._schedule.steps
        warmth = min(1.0, (step + 1) / (WARM_UP_SHARE * self._schedule.steps))
        return self._schedule.learning_rate * warmth * 0.5 * (1 + math.cos(math.pi * done))


def train_text(schedule: Schedule) -> None:
    """Train the teacher and both text towers on descriptions of scenes."""
    torch.manual_seed(schedule.seed)
    teacher = Teacher(EMBEDDING_WIDTH)
    models = {tier: build_for_text_stage(tier) for tier in Tier}
    parameters = [*teacher.parameters()]
    for model in models.values():
        parameters += [*text_parameters(model), model.logit_scale]
    learner = Learner(parameters, schedule)
    plan = BatchPlan(schedule.seed, schedule.scenes, HARD_NEGATIVES, image_size=None)
    for step, batch in enumerate(islice(stream(plan), schedule.steps)):
        scenes = teacher(batch.caption_scenes)
        texts = {tier: embed_texts(model, batch.tokens) for tier, model in models.items()}
        losses = [
            loss
            for tier, model in models.items()
            for loss in _text_losses(scenes, texts[tier], batch.is_true, model.logit_scale)
        ]
        learner.learn(torch.stack(losses).mean(), step)
        _limit_scales(models.values())
        if step % REPORT_EVERY == 0:
            rates = {str(tier): hit_rate(scenes, texts[tier], batch.is_true) for tier in Tier}
            LOG.info("step %d loss %.3f hit rates %s", step, losses[0].item(), rates)
        if step % VALIDATE_EVERY == VALIDATE_EVERY - 1:
            _validate_text(teacher, models)
    _store_text_stage(teacher, models)


def train_image(tier: Tier, schedule: Schedule) -> None:
    """Train a model's image tower against its frozen text tower and the teacher."""
    torch.manual_seed(schedule.seed)
    lesson = ImageLesson(tier)
    learner = Learner(lesson.parameters, schedule)
    image_size = TOWERS[tier].image_size
    plan = BatchPlan(schedule.seed, schedule.scenes, HARD_NEGATIVES, image_size)
    started = time.monotonic()
    for step, batch in enumerate(islice(stream(plan), schedule.steps)):
        losses = lesson.losses(batch)
        learner.learn(losses.total, step)
        _limit_scales([lesson.model])
        if step % REPORT_EVERY == 0:
            LOG.info("step %d (%.0f s) %s", step, time.monotonic() - started, losses)
        if step % VALIDATE_EVERY == VALIDATE_EVERY - 1:
            _validate_image(lesson.model, tier)
    _validate_image(lesson.model, tier)
    save(lesson.model, tier)


@dataclass(frozen=True, slots=True)
class ImageLosses:
    """What one batch costs an image tower, and how well it does."""

    matching: torch.Tensor
    distance: torch.Tensor
    dense: torch.Tensor
    shape_rate: torch.Tensor
    hit_rate: float

    @property
    def total(self) -> torch.Tensor:
        """The weighted sum to minimise."""
        return self.matching + TEACHER_WEIGHT * self.distance + DENSE_WEIGHT * self.dense

    def __str__(self) -> str:
        """Tell the parts in one line."""
        return (
            f"matching {self.matching.item():.3f} distance {self.distance.item():.3f} "
            f"dense {self.dense.item():.3f} shapes {self.shape_rate.item():.3f} hits {self.hit_rate:.3f}"
        )


class ImageLesson:
    """An image tower with everything that it is taught by."""

    def __init__(self, tier: Tier) -> None:
        self.model, self._teacher = _load_text_stage(tier)
        self._heads = DenseHeads(TOWERS[tier].dense_width, TOWERS[tier].grid)
        self._tap = FeatureTap(self.model, tier)
        self.model.visual.to(memory_format=torch.channels_last)
        self.parameters = [
            *self.model.visual.parameters(),
            *self._heads.parameters(),
            self.model.logit_scale,
        ]

    def losses(self, batch: Batch) -> ImageLosses:
        """Match pictures with captions, with the teacher's embeddings, and cells with objects."""
        images = functional.normalize(self.model.visual(normalise(batch.pixels)), dim=-1)
        dense, shape_rate = self._heads(self._tap.features, batch.objects)
        with torch.no_grad():
            texts = embed_texts(self.model, batch.tokens)
            targets = self._teacher(batch.caption_scenes[::STRIDE])
        is_true = batch.is_true[::STRIDE]
        matching = contrast(images, texts, is_true, self.model.logit_scale.exp(), STRIDE)
        distance = (1 - (images * targets).sum(-1)).mean()
        return ImageLosses(matching, distance, dense, shape_rate, hit_rate(images, texts, is_true, STRIDE))


def _text_losses(
    scenes: torch.Tensor, texts: torch.Tensor, is_true: torch.Tensor, log_scale: torch.Tensor
) -> list[torch.Tensor]:
    scale = log_scale.exp()
    return [
        contrast(scenes, texts, is_true, scale),
        contrast(texts, scenes, is_true.T, scale),
    ]


def _limit_scales(models: Iterable[open_clip.CLIP]) -> None:
    with torch.no_grad():
        for model in models:
            model.logit_scale.clamp_(max=MAX_LOG_SCALE)


def _store_text_stage(teacher: Teacher, models: dict[Tier, open_clip.CLIP]) -> None:
    CHECKPOINTS_PATH.mkdir(exist_ok=True)
    torch.save(teacher.state_dict(), CHECKPOINTS_PATH / "teacher.pt")
    for tier, model in models.items():
        kept = {k: v for k, v in model.state_dict().items() if not k.startswith("visual.")}
        torch.save(kept, CHECKPOINTS_PATH / f"text_{tier}.pt")


def _load_text_stage(tier: Tier) -> tuple[open_clip.CLIP, Teacher]:
    model, teacher = build(tier), Teacher(EMBEDDING_WIDTH)
    model.load_state_dict(torch.load(CHECKPOINTS_PATH / f"text_{tier}.pt"), strict=False)
    teacher.load_state_dict(torch.load(CHECKPOINTS_PATH / "teacher.pt"))
    return model, teacher


def _validation_batches(image_size: int | None) -> Iterator[Batch]:
    plan = BatchPlan(VALIDATION_SEED, 128, HARD_NEGATIVES, image_size, Split.HELD_OUT, None)
    return islice(stream(plan), VALIDATION_BATCHES)


@torch.no_grad()
def _validate_text(teacher: Teacher, models: dict[Tier, open_clip.CLIP]) -> None:
    rates = dict.fromkeys(map(str, Tier), 0.0)
    for batch in _validation_batches(None):
        scenes = teacher(batch.caption_scenes[::STRIDE])
        for tier, model in models.items():
            texts = embed_texts(model, batch.tokens)
            rate = hit_rate(scenes, texts, batch.is_true[::STRIDE], STRIDE)
            rates[str(tier)] += rate / VALIDATION_BATCHES
    LOG.info("held-out scenes found among all captions: %s", rates)


@torch.no_grad()
def _validate_image(model: open_clip.CLIP, tier: Tier) -> None:
    model.eval()
    rate = 0.0
    for batch in _validation_batches(TOWERS[tier].image_size):
        images = functional.normalize(model.visual(normalise(batch.pixels)), dim=-1)
        texts = embed_texts(model, batch.tokens)
        rate += hit_rate(images, texts, batch.is_true[::STRIDE], STRIDE) / VALIDATION_BATCHES
    model.train()
    LOG.info("held-out pictures found among all captions of a batch: %.4f", rate)


def main() -> None:
    """Run one stage of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["text", *Tier])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    if arguments.stage == "text":
        train_text(TEXT_SCHEDULE)
    else:
        tier = Tier(arguments.stage)
        train_image(tier, IMAGE_SCHEDULES[tier])


if __name__ == "__main__":
    main()
