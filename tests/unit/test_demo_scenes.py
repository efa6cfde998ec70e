"""The scenes of the demo: what they promise the models that learn from them."""

import itertools

import numpy as np
import pytest

from demo.scenes import (
    COLOURS,
    NEVER_TRAINED,
    SHAPES,
    Relation,
    Scene,
    Split,
    composition_of,
    relation_between,
    render,
    sample_scene,
    split_of,
)


def sample_scenes(count: int, split: Split | None = None, seed: int = 0) -> list[Scene]:
    """Draw scenes from a seed."""
    generator = np.random.default_rng(seed)
    return [sample_scene(generator, split) for _ in range(count)]


def composition(scene: Scene) -> str:
    """Name the composition of a scene."""
    return composition_of([(item.shape, item.colour) for item in scene.objects])


def test_equal_seeds_give_equal_scenes_and_pixels() -> None:
    """Sampling and drawing depend on the seed alone."""
    first, second = sample_scenes(20, seed=7), sample_scenes(20, seed=7)

    assert first == second
    assert all(render(one).tobytes() == render(other).tobytes() for one, other in zip(first, second, strict=True))


def test_other_seeds_give_other_pixels() -> None:
    """No two pictures of a sample are the same."""
    pictures = {render(scene).tobytes() for scene in sample_scenes(50)}

    assert len(pictures) == 50


@pytest.mark.parametrize("side", [32, 96, 224])
def test_picture_is_rgb_of_the_side_asked_for(side: int) -> None:
    """Pictures are square RGB."""
    picture = render(sample_scenes(1)[0], side)

    assert picture.mode == "RGB"
    assert picture.size == (side, side)


def test_object_is_drawn_in_its_colour() -> None:
    """The middle of a full shape has the object's colour, up to noise."""
    scene = next(s for s in sample_scenes(200) if s.objects[0].shape in SHAPES[:3])
    item = scene.objects[0]

    red, green, blue = np.asarray(render(scene))[round(item.y * 96), round(item.x * 96)].tolist()

    assert (red, green, blue) == pytest.approx(item.rgb, abs=24)


def test_splits_share_no_composition() -> None:
    """A composition is trained on or held out, never both."""
    trained = {composition(scene) for scene in sample_scenes(800, Split.TRAIN)}
    held_out = {composition(scene) for scene in sample_scenes(800, Split.HELD_OUT)}

    assert len(held_out) > 100
    assert trained.isdisjoint(held_out)


def test_training_scenes_never_show_the_reserved_looks() -> None:
    """Some shapes are never trained on in some colour."""
    looks = {(item.shape, item.colour) for scene in sample_scenes(1200, Split.TRAIN) for item in scene.objects}

    assert looks == set(itertools.product(SHAPES, COLOURS)) - NEVER_TRAINED


def test_split_ignores_the_order_of_objects() -> None:
    """A pair told from either side is one composition."""
    for first, second in itertools.permutations(itertools.product(SHAPES[:3], COLOURS), 2):
        assert split_of([first, second]) is split_of([second, first])


def test_objects_stay_apart_and_inside_the_picture() -> None:
    """No object overlaps another or leaves the picture."""
    for scene in sample_scenes(500):
        for item in scene.objects:
            assert item.radius <= min(item.x, item.y, 1 - item.x, 1 - item.y) + 1e-9
        for first, second in itertools.combinations(scene.objects, 2):
            distance = np.hypot(first.x - second.x, first.y - second.y)
            assert distance > first.radius + second.radius


def test_pairs_lie_clearly_along_one_axis() -> None:
    """A pair's relation is never in doubt."""
    for scene in sample_scenes(500):
        if len({item.colour for item in scene.objects}) < 2:
            continue
        first, second = scene.objects
        distances = sorted((abs(first.x - second.x), abs(first.y - second.y)))
        assert distances[0] < 0.5 * distances[1]


def test_relation_told_from_the_other_side_is_the_opposite() -> None:
    """Left and right, above and below change places with the objects."""
    assert Relation.LEFT.opposite is Relation.RIGHT
    for scene in sample_scenes(100):
        for first, second in itertools.combinations(scene.objects, 2):
            told = relation_between(first, second)
            assert relation_between(second, first) is told.opposite
