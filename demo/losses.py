"""What the towers are trained to minimise."""

import torch
from torch import nn
from torch.nn import functional

from demo.labels import OBJECT_WIDTH
from demo.scenes import COLOURS, SHAPES, SIZES

DENSE_CLASSES = (len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES) + 1)
"""Classes per attribute and cell; class 0 is an empty cell."""


def contrast(
    queries: torch.Tensor,
    keys: torch.Tensor,
    is_true: torch.Tensor,
    scale: torch.Tensor,
    stride: int = 1,
) -> torch.Tensor:
    """Cross entropy of key `stride * row` being the best for each row of the queries."""
    targets = stride * torch.arange(len(queries))
    logits = _compared(scale * queries, keys, is_true, targets)
    return functional.cross_entropy(logits, targets)


@torch.no_grad()
def hit_rate(queries: torch.Tensor, keys: torch.Tensor, is_true: torch.Tensor, stride: int = 1) -> float:
    """Give the share of queries whose own key is the best of all."""
    targets = stride * torch.arange(len(queries))
    best = _compared(queries, keys, is_true, targets).argmax(-1)
    return (best == targets).float().mean().item()


def _compared(queries: torch.Tensor, keys: torch.Tensor, is_true: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give all cosines, without those keys that are true of the query but not its own."""
    masked = is_true.clone()
    masked[torch.arange(len(queries)), targets] = False
    return (queries @ keys.T).masked_fill(masked, -torch.inf)


class DenseHeads(nn.Module):
    """Predict shape, colour and size in every cell of a feature map; thrown away after training."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.classify = nn.Linear(width, sum(DENSE_CLASSES))

    def forward(self, features: torch.Tensor, objects: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the loss over all cells and the share of objects whose shape is right."""
        targets, centres = cell_targets(objects, self.grid)
        predictions = self.classify(features).split(DENSE_CLASSES, dim=-1)
        losses = [
            functional.cross_entropy(prediction.flatten(0, 1), targets[..., index].flatten())
            for index, prediction in enumerate(predictions)
        ]
        is_right = predictions[0].argmax(-1) == targets[..., 0]
        return torch.stack(losses).sum(), is_right[centres].float().mean()


def cell_targets(objects: torch.Tensor, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give each cell the classes of the object that lies on it, and mark the objects' centres."""
    middles = (torch.arange(grid) + 0.5) / grid
    rows, columns = (axis.flatten() for axis in torch.meshgrid(middles, middles, indexing="ij"))
    targets = torch.zeros(len(objects), grid * grid, 3, dtype=torch.long)
    centres = torch.zeros(len(objects), grid * grid, dtype=torch.bool)
    for item in objects.unbind(1):
        x, y, radius = (value[:, None] for value in item[:, :3].unbind(1))
        is_near = (columns - x) ** 2 + (rows - y) ** 2 < (0.8 * radius) ** 2
        home = (y[:, 0] * grid).long() * grid + (x[:, 0] * grid).long()
        is_home = functional.one_hot(home, grid * grid).bool() & (radius > 0)
        classes = item[:, None, 3:OBJECT_WIDTH].long() + 1
        targets = torch.where((is_near | is_home)[..., None], classes, targets)
        centres |= is_home
    return targets, centres
