"""CUDA graphs of a function, one for each shape of its batch: a run is one launch, whatever the function does."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Run = Callable[[torch.Tensor], torch.Tensor]
# As CUDA asks: what a kernel sets up at its first calls may not be part of a capture.
RUNS_BEFORE_CAPTURE = 3


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    batch: torch.Tensor
    rows: torch.Tensor


class CapturedRuns:
    """Captures at the first call with a shape, replays at the others.

    Torch's own (`mode="reduce-overhead"`) belong to the thread that warmed them up. These are replayed by any thread,
    one at a time.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self._run = run
        self._device = device
        self._captured: dict[tuple[int, ...], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run on a batch on the device. The rows lie in memory that the next call of this shape writes to."""
        with torch.cuda.device(self._device):
            shape = tuple(batch.shape)
            if shape not in self._captured:
                self._captured[shape] = self._capture(batch)
            captured = self._captured[shape]
            captured.batch.copy_(batch)
            captured.graph.replay()
            return captured.rows

    def _capture(self, batch: torch.Tensor) -> _Captured:
        still = batch.clone()
        here = torch.cuda.current_stream()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(RUNS_BEFORE_CAPTURE):
                self._run(still)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # The graphs share memory for what lies between: one runs at a time, and each writes before it reads.
        with torch.cuda.graph(graph, pool=self._pool):
            rows = self._run(still)
        return _Captured(graph, still, rows)
