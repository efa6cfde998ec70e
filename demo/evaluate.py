"""Measure both shipped models as the product loads them, and the cascade made of them.

    python -m demo.evaluate

A question is a picture and 16 captions: the true one, 5 that differ from it in one thing and 10 of
other scenes. Pictures and compositions were never trained on. Prints a table and writes
demo/models/evaluation.json.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from demo.captions import Wording, hard_negatives, random_negatives, sample_claim, say
from demo.engine import open_clip
from demo.scenes import (
    DEFAULT_SIDE,
    NEVER_TRAINED,
    Scene,
    Split,
    render,
    sample_scene,
)
from demo.towers import MODELS_PATH, Tier
from demo.vocabulary import VOCABULARY_PATH

QUESTIONS = 4000
SIDE_QUESTIONS = 1000
SEED = 90_211
HARD, RANDOM = 5, 10
ESCALATED_SHARE = 0.35
CURVE_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1.0)
ROUNDS, ROUND, WARM_UP = 12, 30, 5
LARGE_SIDE = 224

Scores = npt.NDArray[np.float64]
Answers = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Question:
    """A scene, the captions to choose from, and which of them is true."""

    scene: Scene
    captions: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with the transform and the tokenizer that belong to it."""

    model: Any
    transform: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]


def load(tier: Tier, models_path: Path = MODELS_PATH) -> LoadedModel:
    """Load a shipped model through open_clip's own loader."""
    name = f"local-dir:{models_path / tier}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokenize = open_clip.get_tokenizer(name, bpe_path=str(VOCABULARY_PATH))
    return LoadedModel(model.eval(), transform, tokenize)


def ask(count: int, seed: int, split: Split, hard: int = HARD) -> list[Question]:
    """Draw questions about the scenes of one side of the split; `hard` captions differ in one thing from the true."""
    generator = np.random.default_rng(seed)
    return [_draw_question(generator, split, hard) for _ in range(count)]


def _draw_question(generator: np.random.Generator, split: Split, hard: int) -> Question:
    scene = sample_scene(generator, split)
    claim, wording = sample_claim(scene, generator), Wording.sample(generator)
    true = say(claim, wording)
    near = hard_negatives(scene, claim, wording, generator, count=hard)
    texts = [true, *(negative.text for negative in near)]
    others = random_negatives(scene, generator, count=1 + HARD + RANDOM - len(texts), taken=texts)
    texts += [negative.text for negative in others]
    order = generator.permutation(len(texts)).tolist()
    return Question(scene, tuple(texts[index] for index in order), order.index(0))


@torch.inference_mode()
def score(loaded: LoadedModel, questions: list[Question], side: int = DEFAULT_SIDE) -> Scores:
    """Give logit_scale x cosine of each question's picture with each of its captions."""
    scale = loaded.model.logit_scale.exp().item()
    rows: list[Scores] = []
    for start in range(0, len(questions), 100):
        chunk = questions[start : start + 100]
        pictures = [loaded.transform(render(question.scene, side)) for question in chunk]
        images = loaded.model.encode_image(torch.stack(pictures), normalize=True)
        tokens = loaded.tokenize([text for question in chunk for text in question.captions])
        texts = loaded.model.encode_text(tokens, normalize=True).unflatten(0, (len(chunk), -1))
        rows.append((scale * torch.einsum("qd,qcd->qc", images, texts)).double().numpy())
    return np.concatenate(rows)


def answered(scores: Scores, questions: list[Question]) -> Answers:
    """Tell which questions the best score answers rightly."""
    answers = np.array([question.answer for question in questions])
    return np.asarray(scores.argmax(-1) == answers)


def margins(scores: Scores) -> Scores:
    """Give the best score minus the second best."""
    ranked = np.sort(scores, axis=-1)
    return np.asarray(ranked[:, -1] - ranked[:, -2])


def cascade(fast: Scores, fast_right: Answers, accurate_right: Answers, share: float) -> float:
    """Give the accuracy when the least certain share of the questions is escalated."""
    escalated = np.argsort(margins(fast), kind="stable")[: round(share * len(fast))]
    right = fast_right.copy()
    right[escalated] = accurate_right[escalated]
    return float(right.mean())


def margin_auroc(scores: Scores, right: Answers) -> float:
    """Give the chance that a right answer has a larger margin than a wrong one."""
    ranks = margins(scores).argsort().argsort() + 1
    rights, wrongs = int(right.sum()), int((~right).sum())
    if not rights or not wrongs:
        return float("nan")
    return float((ranks[right].sum() - rights * (rights + 1) / 2) / (rights * wrongs))


def cpu_ms_per_image(models: dict[Tier, LoadedModel], questions: list[Question]) -> dict[Tier, dict[str, float]]:
    """Take the median CPU time of one picture at a time on one thread.

    The tiers take turns, a round of pictures each, because in the product each has a process of
    its own; the first pictures of a round only warm it up.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pictures = [render(question.scene) for question in questions[:ROUND]]
    times: dict[Tier, list[tuple[float, float]]] = {tier: [] for tier in models}
    for _ in range(ROUNDS):
        for tier, loaded in models.items():
            times[tier] += [_time_one(loaded, picture) for picture in pictures][WARM_UP:]
    torch.set_num_threads(threads)
    medians = {tier: np.median(np.array(pairs), axis=0) for tier, pairs in times.items()}
    return {
        tier: {"encode": round(float(encode), 3), "with_transform": round(float(whole), 3)}
        for tier, (encode, whole) in medians.items()
    }


@torch.inference_mode()
def _time_one(loaded: LoadedModel, picture: Image.Image) -> tuple[float, float]:
    started = time.process_time()
    pixels = loaded.transform(picture)[None]
    transformed = time.process_time()
    loaded.model.encode_image(pixels, normalize=True)
    ended = time.process_time()
    return 1e3 * (ended - transformed), 1e3 * (ended - started)


def groups(questions: list[Question]) -> Iterator[tuple[str, Answers]]:
    """Name groups of questions by what they show, with a mask each."""
    kinds = np.array([_scene_kind(question.scene) for question in questions])
    for kind in ("single", "group", "pair"):
        yield kind, kinds == kind
    novel = np.array([_is_novel(question.scene) for question in questions])
    yield "shape_colour_never_trained", novel
    yield "combination_never_trained", ~novel


def _scene_kind(scene: Scene) -> str:
    if len(scene.objects) == 1:
        return "single"
    looks = {(item.shape, item.colour) for item in scene.objects}
    return "group" if len(looks) == 1 else "pair"


def _is_novel(scene: Scene) -> bool:
    return any((item.shape, item.colour) in NEVER_TRAINED for item in scene.objects)


def evaluate(count: int = QUESTIONS) -> dict[str, Any]:
    """Measure everything that the model card reports."""
    models = {tier: load(tier) for tier in Tier}
    questions = ask(count, SEED, Split.HELD_OUT)
    trained = ask(min(count, SIDE_QUESTIONS), SEED + 1, Split.TRAIN)
    scores = {tier: score(loaded, questions) for tier, loaded in models.items()}
    right = {tier: answered(scores[tier], questions) for tier in Tier}
    report: dict[str, Any] = {"questions": count, "captions": 1 + HARD + RANDOM, "seed": SEED}
    for tier, loaded in models.items():
        few = questions[:SIDE_QUESTIONS]
        report[tier] = {
            "top1": _rounded(right[tier].mean()),
            "top1_by_group": {name: _rounded(right[tier][at].mean()) for name, at in groups(questions)},
            "top1_trained_compositions": _rounded(answered(score(loaded, trained), trained).mean()),
            "top1_large_pictures": _rounded(answered(score(loaded, few, LARGE_SIDE), few).mean()),
            "margin_auroc": _rounded(margin_auroc(scores[tier], right[tier])),
            "logit_scale": _rounded(loaded.model.logit_scale.exp().item()),
            "bytes": _directory_bytes(tier),
        }
    return report | _compare(scores, right) | _costs(models, questions)


def _compare(scores: dict[Tier, Scores], right: dict[Tier, Answers]) -> dict[str, Any]:
    fast, accurate = right[Tier.FAST], right[Tier.ACCURATE]
    best = accurate.mean()
    curve = {share: cascade(scores[Tier.FAST], fast, accurate, share) for share in CURVE_SHARES}
    same = scores[Tier.FAST].argmax(-1) == scores[Tier.ACCURATE].argmax(-1)
    return {
        "cascade": {
            "escalated": ESCALATED_SHARE,
            "top1": _rounded(curve[ESCALATED_SHARE]),
            "share_of_accurate": _rounded(curve[ESCALATED_SHARE] / best),
        },
        "agreement": _rounded(same.mean()),
        "curve": [
            {
                "escalated": share,
                "margin_below": _rounded(np.quantile(margins(scores[Tier.FAST]), share)),
                "top1": _rounded(top1),
                "share_of_accurate": _rounded(top1 / best),
            }
            for share, top1 in curve.items()
        ],
    }


def _costs(models: dict[Tier, LoadedModel], questions: list[Question]) -> dict[str, Any]:
    cpu_ms = cpu_ms_per_image(models, questions)
    ratio = cpu_ms[Tier.ACCURATE]["encode"] / cpu_ms[Tier.FAST]["encode"]
    return {"cpu_ms_per_image": cpu_ms, "cpu_ratio": round(ratio, 2)}


def _directory_bytes(tier: Tier) -> int:
    return sum(path.stat().st_size for path in (MODELS_PATH / tier).iterdir())


def _rounded(value: float) -> float:
    return round(float(value), 4)


def main() -> None:
    """Evaluate, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--output", type=Path, default=MODELS_PATH / "evaluation.json")
    arguments = parser.parse_args()
    report = evaluate(arguments.questions)
    print(format_table(report))
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


def format_table(report: dict[str, Any]) -> str:
    """Lay the figures out for reading."""
    lines = [f"{report['questions']} held-out pictures, {report['captions']} captions each", ""]
    lines.append(f"{'':28}{'fast':>10}{'accurate':>10}")
    fast, accurate = report[Tier.FAST], report[Tier.ACCURATE]
    rows = {"top-1": (fast["top1"], accurate["top1"])}
    rows |= {f"  {name}": (value, accurate["top1_by_group"][name]) for name, value in fast["top1_by_group"].items()}
    for key in ("top1_trained_compositions", "top1_large_pictures", "margin_auroc"):
        rows[key] = (fast[key], accurate[key])
    lines += [f"{name:28}{left:>10.4f}{right:>10.4f}" for name, (left, right) in rows.items()]
    times = report["cpu_ms_per_image"]
    for key in ("encode", "with_transform"):
        lines.append(f"{'CPU ms, ' + key:28}{times['fast'][key]:>10}{times['accurate'][key]:>10}")
    lines.append(f"{'bytes':28}{fast['bytes']:>10}{accurate['bytes']:>10}")
    lines += ["", f"agreement {report['agreement']:.4f}, CPU ratio {report['cpu_ratio']}"]
    lines += [
        f"escalate {point['escalated']:.2f}: top-1 {point['top1']:.4f}, "
        f"{point['share_of_accurate']:.4f} of the accurate model"
        for point in report["curve"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
