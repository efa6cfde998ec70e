"""Deployment files for tests: the quickstart's, with changes, written where the test wants them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def write_deployment_file(path: Path, changes: Mapping[str, Any]) -> Path:
    """Write the quickstart's file with `changes` merged in and its model paths made absolute."""
    document = _merge(yaml.safe_load(QUICKSTART.read_text(encoding="utf-8")), changes)
    for tier in document["tiers"].values():
        model = tier["model"]
        folder = model["architecture"].removeprefix("local-dir:")
        model["architecture"] = f"local-dir:{(QUICKSTART.parent / folder).resolve()}"
        model["bpe_file"] = str((QUICKSTART.parent / model["bpe_file"]).resolve())
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        is_both = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if is_both else value
    return merged
