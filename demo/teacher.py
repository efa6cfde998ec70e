"""The teacher: embed what is in a scene straight from its description, without a picture.

It is trained together with the text towers, which takes no rendering and few minutes; the image
towers then learn to give a picture the embedding that the teacher gives the scene.
"""

import torch
from torch import nn
from torch.nn import functional

from demo.labels import NO_AXIS, ROW_WIDTH
from demo.scenes import COLOURS, MAX_COUNT, SHAPES, SIZES

HIDDEN_WIDTH = 512
_CHOICES = (3, MAX_COUNT + 1, *(len(SHAPES), len(COLOURS), len(SIZES)) * 2)
_FIRST_OF_SECOND = sum(_CHOICES[:5])


class Teacher(nn.Module):
    """A small perceptron over the one-hot row of a scene."""

    def __init__(self, embedding_width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(sum(_CHOICES), HIDDEN_WIDTH),
            nn.GELU(),
            nn.Linear(HIDDEN_WIDTH, HIDDEN_WIDTH),
            nn.GELU(),
            nn.Linear(HIDDEN_WIDTH, embedding_width),
        )

    def forward(self, scenes: torch.Tensor) -> torch.Tensor:
        """Embed scene rows at unit length."""
        columns = [
            functional.one_hot(scenes[:, index], choices)
            for index, choices in zip(range(ROW_WIDTH), _CHOICES, strict=True)
        ]
        features = torch.cat(columns, dim=1).float()
        is_pair = (scenes[:, :1] != NO_AXIS).float()
        features[:, _FIRST_OF_SECOND:] *= is_pair
        return functional.normalize(self.layers(features), dim=-1)
