"""Batches of few sizes, for engines that prepare each size beforehand."""

from collections.abc import Callable, Sequence

import torch


def buckets_up_to(largest: int) -> tuple[int, ...]:
    """Powers of two below `largest`, and `largest` itself."""
    powers = [2**exponent for exponent in range(largest.bit_length())]
    return (*(power for power in powers if power < largest), largest)


def plan(count: int, buckets: Sequence[int], *, pads: bool) -> list[tuple[int, int]]:
    """Say in which runs `count` items go: pairs of items and the bucket that they are padded to.

    Without `pads` the runs are as large as the items fill them, so that nothing is computed in vain: right where time
    grows with the batch. With it the last run is padded: right where a small run costs what a larger one does.
    """
    runs: list[tuple[int, int]] = []
    while count:
        fitting = next((bucket for bucket in buckets if bucket >= count), buckets[-1])
        filled = max(bucket for bucket in buckets if bucket <= count)
        bucket = fitting if pads else filled
        runs.append((min(count, bucket), bucket))
        count -= runs[-1][0]
    return runs


def run_in_buckets(
    run: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor, buckets: Sequence[int], *, pads: bool
) -> torch.Tensor:
    """Run a batch of any size, shape (items, ...), as batches of the buckets' sizes; rows in the items' order.

    What `run` returns may lie in memory that its next call writes to.
    """
    rows: list[torch.Tensor] = []
    first = 0
    for count, bucket in plan(len(batch), buckets, pads=pads):
        part = batch[first : first + count]
        if count < bucket:
            part = torch.cat([part, part.new_zeros((bucket - count, *part.shape[1:]))])
        rows.append(run(part)[:count].clone())
        first += count
    return torch.cat(rows)
