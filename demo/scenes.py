"""Draw small worlds: coloured shapes, their sizes, counts and relations.

A `Scene` is plain data; `render` turns it into the same picture every time. Scenes are split by
composition (which shapes in which colours, how many): held-out compositions are never trained on.
Only numpy and Pillow are needed here.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image, ImageDraw

DEFAULT_SIDE = 96
MAX_COUNT = 4
OVERSAMPLING = 3
NOISE_LEVEL = 4.0
HELD_OUT_SHARE = 5
"""One composition in this many is held out."""

Rgb = tuple[int, int, int]
Point = tuple[float, float]


class Shape(StrEnum):
    """What an object looks like."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    CROSS = "cross"
    RING = "ring"


class Colour(StrEnum):
    """The colour an object is called by."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    BLACK = "black"


class Size(StrEnum):
    """How large an object is, two sizes well apart."""

    BIG = "big"
    SMALL = "small"


class Relation(StrEnum):
    """Where the first of two objects lies, seen from the second."""

    LEFT = "left"
    RIGHT = "right"
    ABOVE = "above"
    BELOW = "below"

    @property
    def opposite(self) -> "Relation":
        """The same fact told from the other object."""
        return _OPPOSITES[self]


class Split(StrEnum):
    """Which compositions a scene may show."""

    TRAIN = "train"
    HELD_OUT = "held_out"


Look = tuple[Shape, Colour]
"""What tells two kinds of object apart in a composition."""

_OPPOSITES = {
    Relation.LEFT: Relation.RIGHT,
    Relation.RIGHT: Relation.LEFT,
    Relation.ABOVE: Relation.BELOW,
    Relation.BELOW: Relation.ABOVE,
}
SHAPES = tuple(Shape)
COLOURS = tuple(Colour)
SIZES = tuple(Size)
RELATIONS = tuple(Relation)

NEVER_TRAINED: frozenset[Look] = frozenset(
    {
        (Shape.STAR, Colour.PURPLE),
        (Shape.RING, Colour.GREEN),
        (Shape.TRIANGLE, Colour.ORANGE),
    }
)
"""Shape-colour pairs that no training picture and no training caption shows."""

_RGB: dict[Colour, Rgb] = {
    Colour.RED: (212, 38, 38),
    Colour.ORANGE: (244, 134, 28),
    Colour.YELLOW: (240, 216, 48),
    Colour.GREEN: (48, 158, 68),
    Colour.BLUE: (44, 92, 212),
    Colour.PURPLE: (128, 52, 168),
    Colour.PINK: (246, 146, 190),
    Colour.BLACK: (34, 34, 40),
}
_RADIUS: dict[Size, tuple[float, float]] = {Size.BIG: (0.155, 0.185), Size.SMALL: (0.085, 0.105)}
_GAP = 0.04
_MAX_SLANT = 0.35


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One drawn object; positions and radius are shares of the picture's side."""

    shape: Shape
    colour: Colour
    size: Size
    x: float
    y: float
    radius: float
    angle: float
    rgb: Rgb


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is in a picture, enough to draw it again."""

    objects: tuple[SceneObject, ...]
    background: Rgb
    noise_seed: int

    @property
    def split(self) -> Split:
        """The side of the split that the composition falls on."""
        return split_of([(item.shape, item.colour) for item in self.objects])


@dataclass(frozen=True, slots=True)
class _Kind:
    shape: Shape
    colour: Colour
    size: Size


def composition_of(looks: Sequence[Look]) -> str:
    """Name a composition: the shapes with their colours, and how many of them."""
    names = sorted({f"{colour}-{shape}" for shape, colour in looks})
    return "+".join(names) if len(names) > 1 else f"{len(looks)}x{names[0]}"


def split_of(looks: Sequence[Look]) -> Split:
    """Tell whether a composition is trained on; depends on nothing but the composition."""
    if not NEVER_TRAINED.isdisjoint(looks):
        return Split.HELD_OUT
    digest = zlib.crc32(composition_of(looks).encode())
    return Split.HELD_OUT if digest % HELD_OUT_SHARE == 0 else Split.TRAIN


def relation_between(first: SceneObject, second: SceneObject) -> Relation:
    """Name the relation along the axis on which two objects lie further apart."""
    right, down = first.x - second.x, first.y - second.y
    if abs(right) >= abs(down):
        return Relation.LEFT if right < 0 else Relation.RIGHT
    return Relation.ABOVE if down < 0 else Relation.BELOW


def sample_scene(generator: np.random.Generator, split: Split | None = None) -> Scene:
    """Draw a scene: a single object, a group of equal objects or a pair of different ones."""
    draw = generator.random()
    while True:
        if draw < 0.5:
            objects = _sample_pair(generator)
        else:
            count = 1 if draw < 0.7 else int(generator.integers(2, MAX_COUNT + 1))
            objects = _sample_group(generator, count)
        scene = Scene(objects, _sample_background(generator), int(generator.integers(2**31)))
        if split is None or scene.split is split:
            return scene


def _sample_kind(generator: np.random.Generator) -> _Kind:
    shape, colour, size = generator.integers((len(SHAPES), len(COLOURS), len(SIZES))).tolist()
    return _Kind(SHAPES[shape], COLOURS[colour], SIZES[size])


def _sample_radius(generator: np.random.Generator, size: Size) -> float:
    low, high = _RADIUS[size]
    return low + (high - low) * generator.random()


def _sample_pair(generator: np.random.Generator) -> tuple[SceneObject, ...]:
    first, second = _sample_kind(generator), _sample_kind(generator)
    while (first.shape, first.colour) == (second.shape, second.colour):
        second = _sample_kind(generator)
    radii = _sample_radius(generator, first.size), _sample_radius(generator, second.size)
    start, distance, across, slant = generator.random(4).tolist()
    nearest = radii[0] + radii[1] + _GAP
    apart = nearest + distance * (1.0 - radii[0] - radii[1] - nearest)
    along = radii[0] + start * (1.0 - radii[0] - radii[1] - apart)
    margin = max(radii)
    level = margin + across * (1.0 - 2 * margin)
    other = level + (2 * slant - 1) * _MAX_SLANT * apart
    other = min(max(other, margin), 1.0 - margin)
    points = (along, level), (along + apart, other)
    if generator.random() < 0.5:
        points = (level, along), (other, along + apart)
    return (
        _place(generator, first, points[0], radii[0]),
        _place(generator, second, points[1], radii[1]),
    )


def _sample_group(generator: np.random.Generator, count: int) -> tuple[SceneObject, ...]:
    kind = _sample_kind(generator)
    radius = _sample_radius(generator, kind.size)
    points = _scatter(generator, count, radius) or _quarter(generator, count, radius)
    return tuple(_place(generator, kind, point, radius) for point in points)


def _scatter(generator: np.random.Generator, count: int, radius: float) -> list[Point]:
    """Put points anywhere without overlap; empty when they found no room."""
    points: list[Point] = []
    for x, y in (radius + generator.random((3 * count, 2)) * (1.0 - 2 * radius)).tolist():
        if all(math.hypot(x - px, y - py) > 2 * radius + _GAP for px, py in points):
            points.append((x, y))
        if len(points) == count:
            return points
    return []


def _quarter(generator: np.random.Generator, count: int, radius: float) -> list[Point]:
    """Put each point into a quarter of the picture of its own."""
    cells = generator.permutation(4)[:count].tolist()
    shifts = ((generator.random((count, 2)) - 0.5) * 2 * (0.25 - radius - _GAP / 2)).tolist()
    return [
        (0.25 + 0.5 * (cell % 2) + shift[0], 0.25 + 0.5 * (cell // 2) + shift[1])
        for cell, shift in zip(cells, shifts, strict=True)
    ]


def _place(generator: np.random.Generator, kind: _Kind, point: Point, radius: float) -> SceneObject:
    turn, *jitter = generator.random(5).tolist()
    light = 0.9 + 0.2 * jitter[0]
    red, green, blue = (
        min(max(round(base * light + 24 * (shift - 0.5)), 0), 255)
        for base, shift in zip(_RGB[kind.colour], jitter[1:], strict=True)
    )
    angle = (2 * turn - 1) * math.radians(14)
    return SceneObject(kind.shape, kind.colour, kind.size, *point, radius, angle, (red, green, blue))


def _sample_background(generator: np.random.Generator) -> Rgb:
    grey = generator.integers(205, 248)
    red, green, blue = (grey + generator.integers(-7, 8, 3)).tolist()
    return red, green, blue


def render(scene: Scene, side: int = DEFAULT_SIDE) -> Image.Image:
    """Draw a scene as an RGB picture of side x side pixels; equal scenes give equal pixels."""
    canvas = Image.new("RGB", (side * OVERSAMPLING, side * OVERSAMPLING), scene.background)
    pencil = ImageDraw.Draw(canvas)
    for item in scene.objects:
        _PAINTERS[item.shape](pencil, item, scene.background, side * OVERSAMPLING)
    pixels = np.asarray(canvas.reduce(OVERSAMPLING), dtype=np.float32)
    noise = np.random.default_rng(scene.noise_seed).standard_normal(pixels.shape, dtype=np.float32)
    noisy = np.clip(pixels + NOISE_LEVEL * noise + 0.5, 0, 255)
    return Image.fromarray(noisy.astype(np.uint8))


def _disc(pencil: ImageDraw.ImageDraw, item: SceneObject, share: float, rgb: Rgb, s: int) -> None:
    radius = item.radius * share
    box = (item.x - radius, item.y - radius, item.x + radius, item.y + radius)
    pencil.ellipse([value * s for value in box], fill=rgb)


def _paint_circle(pencil: ImageDraw.ImageDraw, item: SceneObject, _: Rgb, scale: int) -> None:
    _disc(pencil, item, 0.95, item.rgb, scale)


def _paint_ring(pencil: ImageDraw.ImageDraw, item: SceneObject, hole: Rgb, scale: int) -> None:
    _disc(pencil, item, 1.0, item.rgb, scale)
    _disc(pencil, item, 0.58, hole, scale)


def _outline_painter(
    outline: list[tuple[float, float]],
) -> Callable[[ImageDraw.ImageDraw, SceneObject, Rgb, int], None]:
    """Paint a polygon given by (degrees from the top, share of the radius)."""
    corners = [(math.radians(degrees - 90), share) for degrees, share in outline]

    def paint(pencil: ImageDraw.ImageDraw, item: SceneObject, _: Rgb, scale: int) -> None:
        points = [
            (
                (item.x + item.radius * share * math.cos(turn + item.angle)) * scale,
                (item.y + item.radius * share * math.sin(turn + item.angle)) * scale,
            )
            for turn, share in corners
        ]
        pencil.polygon(points, fill=item.rgb)

    return paint


def _cross_outline(arm: float = 0.33) -> list[tuple[float, float]]:
    """Give the twelve corners of a plus sign whose arms are 2 x arm wide."""
    tip = math.degrees(math.atan2(arm, 1.0))
    corners: list[tuple[float, float]] = []
    for quarter in (0, 90, 180, 270):
        corners += [(quarter - tip, math.hypot(1, arm)), (quarter + tip, math.hypot(1, arm))]
        corners.append((quarter + 45, arm * math.sqrt(2)))
    return corners


_PAINTERS: dict[Shape, Callable[[ImageDraw.ImageDraw, SceneObject, Rgb, int], None]] = {
    Shape.CIRCLE: _paint_circle,
    Shape.RING: _paint_ring,
    Shape.SQUARE: _outline_painter([(turn, 1.15) for turn in (45, 135, 225, 315)]),
    Shape.TRIANGLE: _outline_painter([(turn, 1.1) for turn in (0, 120, 240)]),
    Shape.STAR: _outline_painter([(36 * tip, (1.08, 0.44)[tip % 2]) for tip in range(10)]),
    Shape.CROSS: _outline_painter(_cross_outline()),
}
