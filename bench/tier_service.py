"""The service with a model of a usual size as its fast tier, on few cores; and what such a model is given."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load_process import Target
from bench.payloads import captions
from bench.services import our_service, status

THREADS = 2
BATCH = {"max_images": 16, "max_texts": 64}
# Two threads of the model and the rest of the service on two cores: nothing is to be given up because it is slow.
PATIENCE = {"period_s": 10.0, "timeout_s": 60.0, "max_run_s": 120.0}
DEADLINE_S = 60.0
IDLE_LIMIT_S = 90.0
IDLE_EVERY_S = 0.2


def model(architecture: str, engine: str = "torch") -> dict[str, Any]:
    """Return a model with random weights, as it stands in a deployment file."""
    return {"architecture": architecture, "pretrained": "random", "threads": THREADS, "engine": engine}


@contextmanager
def tier_service(
    folder: Path, fast_model: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
) -> Iterator[Target]:
    """Run the service without a cache; the accurate tier is the quick start's.

    Args:
        folder: Where its file is written.
        fast_model: The fast tier's model; None is the quick start's.
        changes: Values of the file's `limits` and `router` to set.
    """
    further = changes or {}
    patient = {
        "cache": {"url": "none:", "l1_bytes": 0},
        "limits": further.get("limits", {}),
        "router": {"deadline_s": DEADLINE_S, **further.get("router", {})},
        "tiers": {"fast": {"batch": BATCH, "health": PATIENCE}, "accurate": {"health": PATIENCE}},
    }
    with our_service(folder, patient, fast_model=fast_model) as target:
        yield target


def wait_until_idle(target: Target) -> None:
    """Wait until the tiers hold nothing: what a measure leaves behind is not to weigh on the next.

    Raises:
        TimeoutError: They still do.
    """
    give_up_at = time.monotonic() + IDLE_LIMIT_S
    while any(tier["held_items"] for tier in status(target)["tiers"].values()):
        if time.monotonic() > give_up_at:
            raise TimeoutError("the tiers are still at work")
        time.sleep(IDLE_EVERY_S)


def calls_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    """Items and calls that went to the fast tier between two readings of its status, and items a call."""
    items, calls = (int(after[name]) - int(before[name]) for name in ("items", "calls"))
    return {"items": items, "calls": calls, "items_per_call": items / calls if calls else float("nan")}


def text_batches(count: int, first: int, texts_per_request: int) -> list[list[str]]:
    """Return so many lists of captions of which none comes twice."""
    return [captions(first + number * texts_per_request, texts_per_request) for number in range(count)]
