"""A catalogue of texts: files, globs or standard input, read as a stream."""

import glob
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import get_args

from jobs.byte_lines import lines_of
from jobs.errors import CatalogueRefused
from jobs.row_formats import FORMATS, LINE_FORMATS, Format, open_parquet, read_parquet
from jobs.rows import Columns, Entry

STANDARD_INPUT = "-"
CHUNK_BYTES = 2**18
_STANDARD_INPUT_FD = 0
__all__ = ["STANDARD_INPUT", "count_rows", "find_files", "format_of", "read_catalogue"]


def find_files(names: Sequence[str]) -> list[str]:
    """Return the files that these are or, where they have wildcards, stand for; `-` is standard input.

    Raises:
        CatalogueRefused: There is no such file, or standard input is named twice.
    """
    files: list[str] = []
    for name in names:
        found = [name] if name == STANDARD_INPUT or Path(name).is_file() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - of a whole pattern
        found = [file for file in found if file == STANDARD_INPUT or Path(file).is_file()]
        if not found:
            raise CatalogueRefused(f"{name}: no such file")
        files += found
    if files.count(STANDARD_INPUT) > 1:
        raise CatalogueRefused("standard input can be read only once")
    return list(dict.fromkeys(files))


def format_of(file: str, given: Format | None) -> Format:
    """Return the format that was given, or that the file's name says; standard input is txt.

    Raises:
        CatalogueRefused: The name says none, or standard input is to be parquet.
    """
    if given == "parquet" and file == STANDARD_INPUT:
        raise CatalogueRefused("parquet can't be read from standard input")
    if given is not None or file == STANDARD_INPUT:
        return given or "txt"
    try:
        return FORMATS[Path(file).suffix.lower()]
    except KeyError:
        raise CatalogueRefused(f"{file}: say its --format: {', '.join(get_args(Format))}") from None


def read_catalogue(files: Sequence[str], columns: Columns, given: Format | None = None) -> Iterator[Entry]:
    """Read all rows of all files, one after the other.

    Raises:
        CatalogueRefused: A file can't be read, or has no column for the text.
    """
    for file in files:
        kind = format_of(file, given)
        if kind == "parquet":
            yield from read_parquet(Path(file), columns)
        else:
            yield from LINE_FORMATS[kind](file, lines_of(_chunks(file)), columns)


def count_rows(files: Sequence[str], given: Format | None = None) -> int | None:
    """Return about how many rows there are, for a progress bar; None where standard input is among them.

    Raises:
        CatalogueRefused: A file can't be read.
    """
    if STANDARD_INPUT in files:
        return None
    return sum(_count(file, format_of(file, given)) for file in files)


def _count(file: str, kind: Format) -> int:
    if kind == "parquet":
        return int(open_parquet(Path(file)).metadata.num_rows)
    return sum(chunk.count(b"\n") for chunk in _chunks(file)) - (kind in ("csv", "tsv"))


def _chunks(file: str) -> Iterator[bytes]:
    """Unbuffered: a thread that waits for standard input must hold no lock that the interpreter wants at its end."""
    is_input = file == STANDARD_INPUT
    try:
        with FileIO(_STANDARD_INPUT_FD if is_input else file, closefd=not is_input) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise CatalogueRefused(f"{file}: cannot be read ({type(error).__name__})") from error
