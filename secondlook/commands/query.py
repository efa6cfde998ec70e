"""`secondlook query`: ask a running service which text fits a picture."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.errors import QueryFailed

if TYPE_CHECKING:
    from secondlook.similarity import PictureAnswer

SUMMARY = "ask a running service which text fits a picture"
DEFAULT_URL = "http://127.0.0.1:8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("image", metavar="IMAGE", help="an image file, or - for standard input")
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="texts to compare the picture with")
    parser.add_argument("--url", default=DEFAULT_URL, metavar="U", help="where the service is (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the service's answer as it is")


def run(options: argparse.Namespace) -> int:
    """Ask and print."""
    from secondlook.similarity import ask, connect  # noqa: PLC0415 - --help does not need httpx

    image = _read(options.image)
    with connect(options.url) as client:
        answer = ask(client, [image], options.texts)
    if options.json:
        print(json.dumps(answer.body, indent=2))
    else:
        _print(answer.pictures[0], options.texts, answer.elapsed_ms)
    return 0


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise QueryFailed(f"{name}: {(error.strerror or 'cannot be read').lower()}") from error


def _print(picture: "PictureAnswer", texts: list[str], elapsed_ms: float) -> None:
    from secondlook.tables import print_table  # noqa: PLC0415

    probability = picture.probability or (None,) * len(texts)
    scored = [
        (_number(chance, 4), _number(cosine, 4), text)
        for _, chance, cosine, text in sorted(
            zip(map(_rank, picture.cosine), probability, picture.cosine, texts, strict=True), key=lambda row: row[0]
        )
    ]
    print_table(("probability", "cosine", "text"), scored, sys.stdout, marked={0} if sys.stdout.isatty() else ())
    print(summary(picture, elapsed_ms))


def summary(picture: "PictureAnswer", elapsed_ms: float) -> str:
    """Say in one line who answered, how sure it was, and what the cache knew."""
    parts = [
        f"{picture.tier} tier" + (", after a second look" if picture.escalated else ""),
        f"confidence {picture.confidence:.3f}",
        f"{picture.hits} of {picture.lookups} embeddings cached",
        f"{elapsed_ms:.0f} ms",
    ]
    return "; ".join(parts + ([f"degraded: {picture.degraded}"] if picture.degraded else []))


def _rank(cosine: float | None) -> float:
    return float("inf") if cosine is None else -cosine


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
