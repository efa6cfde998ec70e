"""Questions to calibrate with where there is no audit log yet: pictures, and texts to choose from."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import QuestionsRefused

MIN_TEXTS = 2
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class FileQuestion:
    """A picture's file, and the texts that it is compared with."""

    image: Path
    texts: tuple[str, ...]


def from_folder(folder: Path, labels: Path) -> list[FileQuestion]:
    """Ask of every picture in a folder, those below included, which of a file's lines fits it best.

    Raises:
        QuestionsRefused: There are no pictures, or fewer than two labels.
    """
    texts = tuple(dict.fromkeys(line.strip() for line in _read(labels).splitlines() if line.strip()))
    if len(texts) < MIN_TEXTS:
        raise QuestionsRefused(f"{labels}: expected at least two labels, one a line")
    if not folder.is_dir():
        raise QuestionsRefused(f"{folder}: no such folder")
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not images:
        raise QuestionsRefused(f"{folder}: no pictures in it")
    return [FileQuestion(image, texts) for image in images]


def from_lines(file: Path) -> list[FileQuestion]:
    """Read questions of their own texts, `{"image": "PATH", "texts": [...]}` a line; paths are beside the file.

    Raises:
        QuestionsRefused: A line is none, or there is none.
    """
    questions = [_question(file, number, line) for number, line in _lines(file)]
    if not questions:
        raise QuestionsRefused(f"{file}: no question in it")
    return questions


def draw(questions: Sequence[FileQuestion], count: int | None, seed: int) -> list[FileQuestion]:
    """Draw `count` of the questions by lot, all in a random order where that is None or more than there are."""
    return random.Random(seed).sample(list(questions), min(count or len(questions), len(questions)))  # noqa: S311


def _question(file: Path, number: int, line: str) -> FileQuestion:
    try:
        document = json.loads(line)
        image, texts = document["image"], document["texts"]
    except (ValueError, TypeError, KeyError) as error:
        raise QuestionsRefused(f"{file}, line {number}: expected an object with image and texts") from error
    is_list = isinstance(texts, list) and len(texts) >= MIN_TEXTS and all(isinstance(text, str) for text in texts)
    if not isinstance(image, str) or not is_list:
        raise QuestionsRefused(f"{file}, line {number}: image is a path, texts a list of at least two")
    return FileQuestion(file.parent / image, tuple(texts))


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(_read(file).splitlines(), 1) if line.strip())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionsRefused(f"{file}: cannot be read ({type(error).__name__})") from error
