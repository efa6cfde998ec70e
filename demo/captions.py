"""Say what is in a scene, and what is not.

A `Claim` is the meaning of a caption; `holds` decides its truth against a scene. Negatives are
claims that differ from a true one in one thing (hard) or come from another scene (random), and
are always false for the scene.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from demo.scenes import (
    COLOURS,
    MAX_COUNT,
    RELATIONS,
    SHAPES,
    SIZES,
    Colour,
    Relation,
    Scene,
    SceneObject,
    Shape,
    Size,
    Split,
    relation_between,
    sample_scene,
    split_of,
)

Form = TypeVar("Form")

_SHAPE_WORDS: dict[Shape, tuple[tuple[str, str], ...]] = {
    Shape.CIRCLE: (("circle", "circles"), ("disc", "discs")),
    Shape.SQUARE: (("square", "squares"), ("box", "boxes")),
    Shape.TRIANGLE: (("triangle", "triangles"),),
    Shape.STAR: (("star", "stars"),),
    Shape.CROSS: (("cross", "crosses"), ("plus sign", "plus signs")),
    Shape.RING: (("ring", "rings"), ("hoop", "hoops")),
}
_SIZE_WORDS: dict[Size, tuple[str, ...]] = {
    Size.BIG: ("big", "large"),
    Size.SMALL: ("small", "little"),
}
_RELATION_WORDS: dict[Relation | None, tuple[str, ...]] = {
    None: ("and",),
    Relation.LEFT: ("left of", "to the left of"),
    Relation.RIGHT: ("right of", "to the right of"),
    Relation.ABOVE: ("above", "over"),
    Relation.BELOW: ("below", "under", "beneath"),
}
_COUNT_WORDS = {2: "two", 3: "three", 4: "four"}
_OPENINGS = ("", "", "", "a picture of ", "a photo of ", "a drawing of ")

UNSIZED_SHARE = 0.2
UNRELATED_SHARE = 0.1


class EditKind(StrEnum):
    """The one thing in which a hard negative differs."""

    COLOUR = "colour"
    SHAPE = "shape"
    SIZE = "size"
    COUNT = "count"
    RELATION = "relation"


@dataclass(frozen=True, slots=True)
class Description:
    """What a caption says about an object; no size means any size."""

    shape: Shape
    colour: Colour
    size: Size | None = None

    def matches(self, item: SceneObject) -> bool:
        """Tell whether an object fits the description."""
        return item.shape is self.shape and item.colour is self.colour and (self.size is None or item.size is self.size)


@dataclass(frozen=True, slots=True)
class CountClaim:
    """Exactly so many objects fit the description."""

    what: Description
    count: int = 1

    @property
    def split(self) -> Split:
        """The side of the split on which scenes of this claim fall."""
        return split_of([(self.what.shape, self.what.colour)] * self.count)

    def holds(self, scene: Scene) -> bool:
        """Tell whether the scene makes this claim true."""
        return sum(map(self.what.matches, scene.objects)) == self.count


@dataclass(frozen=True, slots=True)
class PairClaim:
    """Two objects lie in a relation; no relation means anywhere."""

    first: Description
    second: Description
    relation: Relation | None = None

    @property
    def split(self) -> Split:
        """The side of the split on which scenes of this claim fall."""
        return split_of([(what.shape, what.colour) for what in (self.first, self.second)])

    def holds(self, scene: Scene) -> bool:
        """Tell whether the scene makes this claim true."""
        return any(
            self.first.matches(first)
            and self.second.matches(second)
            and self.relation in (None, relation_between(first, second))
            for first in scene.objects
            for second in scene.objects
            if first is not second
        )


Claim = CountClaim | PairClaim


@dataclass(frozen=True, slots=True)
class Wording:
    """Which of the synonyms to use; edits of one claim said in one wording differ in one place."""

    opening: int = 0
    shape: int = 0
    size: int = 0
    relation: int = 0
    says_one: bool = False

    @classmethod
    def sample(cls, generator: np.random.Generator) -> "Wording":
        """Draw a wording."""
        opening, shape, size, relation, one = generator.integers(12, size=5).tolist()
        return cls(opening, shape, size, relation, says_one=one == 0)


@dataclass(frozen=True, slots=True)
class Edit:
    """A claim that differs from another in one thing."""

    kind: EditKind
    claim: Claim


@dataclass(frozen=True, slots=True)
class Negative:
    """A caption that is false for its scene; `kind` is None for a random one."""

    text: str
    claim: Claim
    kind: EditKind | None


def describe(item: SceneObject, *, sized: bool = True) -> Description:
    """Describe an object truly."""
    return Description(item.shape, item.colour, item.size if sized else None)


def sample_claim(scene: Scene, generator: np.random.Generator) -> Claim:
    """Draw a true claim that names everything in the scene."""
    sized, related = generator.random(2) >= (UNSIZED_SHARE, UNRELATED_SHARE)
    first = scene.objects[0]
    if all(describe(first).matches(item) for item in scene.objects):
        return CountClaim(describe(first, sized=bool(sized)), len(scene.objects))
    second = scene.objects[1]
    if generator.random() < 0.5:
        first, second = second, first
    relation = relation_between(first, second) if related else None
    sized = bool(sized)
    return PairClaim(describe(first, sized=sized), describe(second, sized=sized), relation)


def say(claim: Claim, wording: Wording) -> str:
    """Put a claim into words."""
    opening = _OPENINGS[wording.opening % len(_OPENINGS)]
    if isinstance(claim, CountClaim):
        return opening + _say_description(claim.what, claim.count, wording)
    link = _pick(_RELATION_WORDS[claim.relation], wording.relation)
    first, second = (_say_description(what, 1, wording) for what in (claim.first, claim.second))
    return f"{opening}{first} {link} {second}"


def caption(scene: Scene, generator: np.random.Generator) -> str:
    """Say something true about a scene in random words."""
    return say(sample_claim(scene, generator), Wording.sample(generator))


def edits(claim: Claim) -> list[Edit]:
    """List the claims that differ in one colour, shape, size, count or relation.

    A pair stays a pair of different looks: "a red star left of a red star" is never among them.
    """
    if isinstance(claim, CountClaim):
        counts = [n for n in range(1, MAX_COUNT + 1) if n != claim.count]
        return [
            *_edits_of(claim.what, lambda what: replace(claim, what=what)),
            *(Edit(EditKind.COUNT, replace(claim, count=count)) for count in counts),
        ]
    found = _edits_of(claim.first, lambda what: replace(claim, first=what))
    found += _edits_of(claim.second, lambda what: replace(claim, second=what))
    found = [edit for edit in found if not _tells_one_look(edit.claim)]
    relations = [] if claim.relation is None else RELATIONS
    found += [
        Edit(EditKind.RELATION, replace(claim, relation=relation))
        for relation in relations
        if relation is not claim.relation
    ]
    return found


def hard_negatives(
    scene: Scene,
    claim: Claim,
    wording: Wording,
    generator: np.random.Generator,
    *,
    count: int = 5,
    split: Split | None = None,
) -> list[Negative]:
    """Draw false captions one edit away from a true claim, spread over the kinds of edit."""
    found = edits(claim)
    shuffled = [found[index] for index in generator.permutation(len(found)).tolist()]
    chosen: list[Negative] = []
    for edit in _spread(shuffled):
        if len(chosen) == count:
            break
        if split in (None, edit.claim.split) and not edit.claim.holds(scene):
            chosen.append(Negative(say(edit.claim, wording), edit.claim, edit.kind))
    return chosen


def random_negatives(
    scene: Scene,
    generator: np.random.Generator,
    *,
    count: int = 10,
    split: Split | None = None,
    taken: Iterable[str] = (),
) -> list[Negative]:
    """Draw false captions from other scenes, all different and none of those already taken."""
    texts = set(taken)
    chosen: list[Negative] = []
    while len(chosen) < count:
        claim = sample_claim(sample_scene(generator, split), generator)
        text = say(claim, Wording.sample(generator))
        if text not in texts and not claim.holds(scene):
            texts.add(text)
            chosen.append(Negative(text, claim, None))
    return chosen


def all_words() -> list[str]:
    """List every word that a caption can hold, with repetition by use."""
    words = [name for forms in _SHAPE_WORDS.values() for pair in forms for name in pair]
    words += [word for forms in _SIZE_WORDS.values() for word in forms]
    words += [word for forms in _RELATION_WORDS.values() for word in forms]
    words += [*COLOURS, *_COUNT_WORDS.values(), *_OPENINGS, "a", "an", "one"]
    return " ".join(words).split()


def _tells_one_look(claim: Claim) -> bool:
    return isinstance(claim, PairClaim) and (
        (claim.first.shape, claim.first.colour) == (claim.second.shape, claim.second.colour)
    )


def _edits_of(what: Description, rebuild: Callable[[Description], Claim]) -> list[Edit]:
    changed = [
        *((EditKind.COLOUR, replace(what, colour=colour)) for colour in COLOURS),
        *((EditKind.SHAPE, replace(what, shape=shape)) for shape in SHAPES),
        *((EditKind.SIZE, replace(what, size=size)) for size in SIZES if what.size is not None),
    ]
    return [Edit(kind, rebuild(other)) for kind, other in changed if other != what]


def _spread(found: list[Edit]) -> list[Edit]:
    """Order edits so that each kind comes once before any kind comes again."""
    ranks: Counter[EditKind] = Counter()
    keyed: list[tuple[int, Edit]] = []
    for edit in found:
        ranks[edit.kind] += 1
        keyed.append((ranks[edit.kind], edit))
    return [edit for _, edit in sorted(keyed, key=lambda pair: pair[0])]


def _say_description(what: Description, count: int, wording: Wording) -> str:
    noun = _pick(_SHAPE_WORDS[what.shape], wording.shape)[count > 1]
    size = [] if what.size is None else [_pick(_SIZE_WORDS[what.size], wording.size)]
    words = [*size, str(what.colour), noun]
    if count > 1:
        number = _COUNT_WORDS[count]
    elif wording.says_one:
        number = "one"
    else:
        number = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([number, *words])


def _pick(forms: tuple[Form, ...], index: int) -> Form:
    return forms[index % len(forms)]
