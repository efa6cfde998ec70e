"""The captions of the demo: true ones are true, negatives are false, edits are single."""

import numpy as np
import pytest

from demo.captions import (
    Claim,
    CountClaim,
    Description,
    EditKind,
    PairClaim,
    Wording,
    all_words,
    caption,
    edits,
    hard_negatives,
    random_negatives,
    sample_claim,
    say,
)
from demo.labels import claim_row, scene_row, truth
from demo.scenes import Colour, Relation, Scene, Shape, Size, Split, sample_scene

BIG_RED_CIRCLE = Description(Shape.CIRCLE, Colour.RED, Size.BIG)
SMALL_ORANGE_BOX = Description(Shape.SQUARE, Colour.ORANGE, Size.SMALL)


@pytest.fixture
def generator() -> np.random.Generator:
    """Give the same random numbers to each test."""
    return np.random.default_rng(11)


def sample_told_scenes(generator: np.random.Generator, count: int) -> list[tuple[Scene, Claim]]:
    """Draw scenes with a true claim each."""
    scenes = [sample_scene(generator) for _ in range(count)]
    return [(scene, sample_claim(scene, generator)) for scene in scenes]


def test_sampled_claims_are_true(generator: np.random.Generator) -> None:
    """A scene makes its own claims true."""
    assert all(claim.holds(scene) for scene, claim in sample_told_scenes(generator, 500))


def test_hard_negatives_are_false_and_five(generator: np.random.Generator) -> None:
    """Every scene has five hard negatives, none of them true."""
    for scene, claim in sample_told_scenes(generator, 300):
        negatives = hard_negatives(scene, claim, Wording.sample(generator), generator)

        assert len({negative.text for negative in negatives}) == 5
        assert not any(negative.claim.holds(scene) for negative in negatives)


def test_hard_negatives_spread_over_the_kinds_of_edit(generator: np.random.Generator) -> None:
    """No kind comes twice before each has come once."""
    for scene, claim in sample_told_scenes(generator, 100):
        negatives = hard_negatives(scene, claim, Wording(), generator)

        assert {item.kind for item in negatives} == {edit.kind for edit in edits(claim)}


def test_random_negatives_are_false_and_different(generator: np.random.Generator) -> None:
    """Captions of other scenes are used only where they are false."""
    for scene, claim in sample_told_scenes(generator, 60):
        true = say(claim, Wording())
        negatives = random_negatives(scene, generator, taken=[true])

        assert len({true, *(negative.text for negative in negatives)}) == 11
        assert not any(negative.claim.holds(scene) for negative in negatives)


def test_training_negatives_name_no_held_out_composition(generator: np.random.Generator) -> None:
    """What is held out is not even read about in training."""
    for _ in range(200):
        scene = sample_scene(generator, Split.TRAIN)
        claim = sample_claim(scene, generator)
        negatives = hard_negatives(scene, claim, Wording(), generator, split=Split.TRAIN, count=3)

        assert [negative.claim.split for negative in negatives] == [Split.TRAIN] * 3


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        (CountClaim(BIG_RED_CIRCLE), "a big red circle"),
        (CountClaim(BIG_RED_CIRCLE, 3), "three big red circles"),
        (CountClaim(Description(Shape.SQUARE, Colour.ORANGE)), "an orange square"),
        (
            PairClaim(BIG_RED_CIRCLE, SMALL_ORANGE_BOX, Relation.LEFT),
            "a big red circle left of a small orange square",
        ),
        (PairClaim(BIG_RED_CIRCLE, SMALL_ORANGE_BOX), "a big red circle and a small orange square"),
    ],
)
def test_claims_are_said_in_plain_words(claim: Claim, text: str) -> None:
    """The plainest wording reads as one would say it."""
    assert say(claim, Wording()) == text


def test_an_edit_changes_one_attribute() -> None:
    """A pair can be edited in seven colours, five shapes and one size each, three relations."""
    claim = PairClaim(BIG_RED_CIRCLE, SMALL_ORANGE_BOX, Relation.LEFT)

    kinds = [edit.kind for edit in edits(claim)]

    assert {kind: kinds.count(kind) for kind in EditKind} == {
        EditKind.COLOUR: 14,
        EditKind.SHAPE: 10,
        EditKind.SIZE: 2,
        EditKind.COUNT: 0,
        EditKind.RELATION: 3,
    }


def test_captions_use_only_listed_words(generator: np.random.Generator) -> None:
    """The vocabulary is trained on every word that can occur."""
    words = set(all_words())

    assert all(set(caption(sample_scene(generator), generator).split()) <= words for _ in range(300))


def test_truth_of_rows_is_the_truth_of_claims(generator: np.random.Generator) -> None:
    """Deciding a batch at once gives what deciding one by one gives."""
    told = sample_told_scenes(generator, 80)
    claims = [claim for _, claim in told]
    claims += [edit.claim for claim in claims for edit in edits(claim)]

    decided = truth(
        np.array([claim_row(claim) for claim in claims]),
        np.array([scene_row(scene) for scene, _ in told]),
    )

    assert decided.tolist() == [[claim.holds(scene) for claim in claims] for scene, _ in told]
