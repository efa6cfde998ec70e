"""Scenes and claims as rows of integers, so that truth is decided for a whole batch at once.

A row is (axis, count, shape, colour, size of the first object, shape, colour, size of the second).
The first object of a pair is the left or upper one. ANY stands for what a claim leaves open.
"""

import numpy as np
import numpy.typing as npt

from demo.captions import Claim, CountClaim, Description, PairClaim, describe
from demo.scenes import (
    COLOURS,
    MAX_COUNT,
    SHAPES,
    SIZES,
    Relation,
    Scene,
    relation_between,
)

ANY = -1
ROW_WIDTH = 8
NO_AXIS, HORIZONTAL, VERTICAL = 0, 1, 2
OBJECT_WIDTH = 6
"""An object's row: x, y, radius, shape, colour, size."""

Rows = npt.NDArray[np.int64]

_SHAPE_INDEX = {shape: index for index, shape in enumerate(SHAPES)}
_COLOUR_INDEX = {colour: index for index, colour in enumerate(COLOURS)}
_SIZE_INDEX = {None: ANY} | {size: index for index, size in enumerate(SIZES)}
_AXIS = {
    None: ANY,
    Relation.LEFT: HORIZONTAL,
    Relation.RIGHT: HORIZONTAL,
    Relation.ABOVE: VERTICAL,
    Relation.BELOW: VERTICAL,
}


def claim_row(claim: Claim) -> list[int]:
    """Write a claim as a row."""
    if isinstance(claim, CountClaim):
        return [NO_AXIS, claim.count, *_description_row(claim.what), 0, 0, 0]
    first, second = claim.first, claim.second
    if claim.relation in (Relation.RIGHT, Relation.BELOW):
        first, second = second, first
    return [_AXIS[claim.relation], 0, *_description_row(first), *_description_row(second)]


def scene_row(scene: Scene) -> list[int]:
    """Write a scene as the row of the one claim that says all about it."""
    first = scene.objects[0]
    if all(describe(first).matches(item) for item in scene.objects):
        return claim_row(CountClaim(describe(first), len(scene.objects)))
    second = scene.objects[1]
    relation = relation_between(first, second)
    return claim_row(PairClaim(describe(first), describe(second), relation))


def object_rows(scene: Scene) -> list[list[float]]:
    """Write where each object is and what it looks like; missing objects have radius 0."""
    rows = [
        [
            item.x,
            item.y,
            item.radius,
            _SHAPE_INDEX[item.shape],
            _COLOUR_INDEX[item.colour],
            _SIZE_INDEX[item.size],
        ]
        for item in scene.objects
    ]
    return rows + [[0.0] * OBJECT_WIDTH] * (MAX_COUNT - len(rows))


def truth(claims: Rows, scenes: Rows) -> npt.NDArray[np.bool_]:
    """Tell for every scene (rows) which claims (columns) are true of it."""
    claim, scene = claims[None], scenes[:, None]
    fits = np.where(claim == ANY, True, claim == scene)
    swapped = claim[..., [0, 1, 5, 6, 7, 2, 3, 4]]
    fits_swapped = np.where(swapped == ANY, True, swapped == scene)
    unordered = claim[..., 0] == ANY
    counts_one = (claim[..., 0] == NO_AXIS) & (claim[..., 1] == 1) & (scene[..., 0] != NO_AXIS)
    is_in_pair = fits[..., 2:5].all(-1) | fits_swapped[..., 5:8].all(-1)
    return np.asarray(fits.all(-1) | (unordered & fits_swapped.all(-1)) | (counts_one & is_in_pair))


def fill(claims: Rows, scenes: Rows) -> Rows:
    """Complete each claim to a scene's row, taking what it leaves open from the scene."""
    return np.where(claims == ANY, scenes, claims)


def _description_row(what: Description) -> list[int]:
    return [_SHAPE_INDEX[what.shape], _COLOUR_INDEX[what.colour], _SIZE_INDEX[what.size]]
