"""The report of a run: one table, one JSON document, one plot."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Figure, Findings

HEADER = ("figure", "ours", "unit", "floor", "ratio", "promised", "")
VERDICTS = {True: "holds", False: "MISSED", None: ""}
MINUS = "-"


def table(findings: Mapping[str, Findings]) -> str:
    """Return every figure as one line of text, under its scenario's name, and the notes below."""
    rows: list[tuple[str, ...]] = [HEADER]
    for scenario, found in findings.items():
        rows.append((f"[{scenario}]", *[""] * (len(HEADER) - 1)))
        rows += [_row(figure) for figure in found.figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join(_align(cell, width, at) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    notes = [f"note ({scenario}): {note}" for scenario, found in findings.items() for note in found.notes]
    return "\n".join([line.rstrip() for line in lines] + notes) + "\n"


def document(
    findings: Mapping[str, Findings], machine: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that was found out, every round included."""
    return {
        "machine": dict(machine),
        "options": dict(options),
        "scenarios": {
            scenario: {
                "figures": [_as_document(figure) for figure in found.figures],
                "notes": found.notes,
                "rounds": found.samples,
            }
            for scenario, found in findings.items()
        },
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document as JSON; what is not a number becomes null."""
    path.write_text(json.dumps(_without_nan(content), indent=1) + "\n", encoding="utf-8")


def short(value: float | None) -> str:
    """Return a number with three significant digits or, above a thousand, whole."""
    if value is None:
        return ""
    if math.isnan(value):
        return "n/a"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _row(figure: Figure) -> tuple[str, ...]:
    floor = f"{short(figure.floor)} {figure.floor_name}" if figure.floor is not None else MINUS
    ratio = f"{short(figure.ratio)}x" if figure.ratio is not None else MINUS
    promised = str(figure.promise) if figure.promise else ""
    return (figure.name, short(figure.ours), figure.unit, floor, ratio, promised, VERDICTS[figure.is_kept])


def _align(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column in (1, 4) else cell.ljust(width)


def _as_document(figure: Figure) -> dict[str, Any]:
    promise = None if figure.promise is None else str(figure.promise)
    return {**asdict(figure), "promise": promise, "holds": figure.is_kept}


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(item) for item in value]
    return value
