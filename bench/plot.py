"""The ratios to the floors as a picture, where matplotlib is installed."""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.figures import Figure, Findings

HOLDS, MISSED, PLAIN, MARK = "#2f7d4f", "#b3372f", "#8a8f98", "#1b1d21"


def write_plot(path: Path, findings: Mapping[str, Findings], caption: str) -> bool:
    """Draw every ratio as a bar and every promise as a mark on it; say whether it could be drawn."""
    figures = [figure for found in findings.values() for figure in found.figures if figure.ratio is not None]
    with suppress(ImportError):
        if figures:
            _draw(path, figures, caption)
            return True
    return False


def _draw(path: Path, figures: Sequence[Figure], caption: str) -> None:
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    colours = {True: HOLDS, False: MISSED, None: PLAIN}
    picture, axes = pyplot.subplots(figsize=(10, 1.2 + 0.42 * len(figures)), layout="constrained")
    places = range(len(figures))
    labels = [f"{figure.name}\nvs {figure.floor_name}" for figure in figures]
    axes.barh(places, [figure.ratio for figure in figures], color=[colours[figure.is_kept] for figure in figures])
    axes.set_yticks(places, labels, fontsize=7)
    for place, figure in zip(places, figures, strict=True):
        axes.annotate(f" {figure.ratio:.2f}", (figure.ratio, place), va="center", fontsize=8)
        promise = figure.promise
        if promise is not None and promise.of == "ratio":
            bound = promise.at_least if promise.at_least is not None else promise.at_most
            axes.plot([bound, bound], [place - 0.42, place + 0.42], color=MARK, linewidth=2)
    axes.axvline(1.0, color=PLAIN, linewidth=0.8, linestyle=":")
    axes.invert_yaxis()
    axes.set_xlabel("ours / floor; a black mark is what is promised")
    axes.set_title(caption, fontsize=9)
    picture.savefig(path, dpi=140)
    pyplot.close(picture)
