"""The formats of a catalogue: txt, csv, tsv, jsonl and parquet, each read row by row."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from jobs.errors import CatalogueRefused
from jobs.rows import Columns, Entry, Reject, entry

Format = Literal["txt", "csv", "tsv", "jsonl", "parquet"]
FORMATS: dict[str, Format] = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
PARQUET_ROWS = 1024
TOO_LONG = "a line is too long"
NO_TEXT = "\udc80\n"
Lines = Iterable[bytes | None]
"""Lines with their ends; None for one that is too long."""


def read_txt(file: str, lines: Lines, columns: Columns) -> Iterator[Entry]:
    """Read one text a line; a line with nothing on it is none."""
    for number, line in enumerate(lines, 1):
        if line is None:
            yield Reject(file, number, TOO_LONG)
            continue
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape")
        if text:
            yield entry(file, number, {columns.text: text}, columns)


def read_jsonl(file: str, lines: Lines, columns: Columns) -> Iterator[Entry]:
    """Read an object, or a bare string, a line."""
    for number, line in enumerate(lines, 1):
        if line is None:
            yield Reject(file, number, TOO_LONG)
        elif not line.isspace():
            yield _json_entry(file, number, line, columns)


def read_csv(file: str, lines: Lines, columns: Columns, delimiter: str = ",") -> Iterator[Entry]:
    """Read rows under a header; a quoted text may go over several lines.

    Raises:
        CatalogueRefused: The header has no column for the text.
    """
    reader = csv.reader(_decoded(lines), delimiter=delimiter, strict=True)
    names = _header(file, reader, columns)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield Reject(file, reader.line_num, f"not csv: {error}")
            continue
        if fields and len(fields) != len(names):
            yield Reject(file, reader.line_num, f"expected {len(names)} columns, found {len(fields)}")
        elif fields:
            yield entry(file, reader.line_num, dict(zip(names, fields, strict=True)), columns)


def read_parquet(path: Path, columns: Columns) -> Iterator[Entry]:
    """Read a file's rows, some at a time.

    Raises:
        CatalogueRefused: pyarrow is not installed, or the file is none of its kind.
    """
    table = open_parquet(path)
    if columns.text not in table.schema_arrow.names:
        raise _no_column(str(path), table.schema_arrow.names, columns)
    number = 0
    for batch in table.iter_batches(batch_size=PARQUET_ROWS):
        for fields in batch.to_pylist():
            number += 1
            yield entry(str(path), number, fields, columns)


def open_parquet(path: Path) -> Any:
    """Open a parquet file.

    Raises:
        CatalogueRefused: pyarrow is not installed, or the file is none of its kind.
    """
    try:
        from pyarrow import ArrowException  # noqa: PLC0415 - an optional extra
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError as error:
        raise CatalogueRefused(f"{path}: parquet needs pyarrow: pip install 'secondlook[parquet]'") from error
    try:
        return ParquetFile(path)
    except (OSError, ArrowException) as error:
        raise CatalogueRefused(f"{path}: cannot be read ({type(error).__name__})") from error


def _tsv(file: str, lines: Lines, columns: Columns) -> Iterator[Entry]:
    return read_csv(file, lines, columns, "\t")


LINE_FORMATS: dict[Format, Callable[[str, Lines, Columns], Iterator[Entry]]] = {
    "txt": read_txt,
    "csv": read_csv,
    "tsv": _tsv,
    "jsonl": read_jsonl,
}


def _json_entry(file: str, number: int, line: bytes, columns: Columns) -> Entry:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Reject(file, number, "not JSON")
    if isinstance(document, str):
        document = {columns.text: document}
    if not isinstance(document, dict):
        return Reject(file, number, "neither an object nor a string")
    return entry(file, number, document, columns)


def _decoded(lines: Lines) -> Iterator[str]:
    # Bytes that are no UTF-8, and a line that is too long, become halves of characters, by which their row is told.
    return (NO_TEXT if line is None else line.decode(errors="surrogateescape") for line in lines)


def _header(file: str, reader: Iterator[list[str]], columns: Columns) -> list[str]:
    try:
        names = next(reader, None)
    except csv.Error as error:
        raise CatalogueRefused(f"{file}: not csv: {error}") from error
    if names is not None and columns.text not in names:
        raise _no_column(file, names, columns)
    return names or []


def _no_column(file: str, names: Iterable[str], columns: Columns) -> CatalogueRefused:
    return CatalogueRefused(f"{file}: no column {columns.text}, only {', '.join(names)}: name it with --text-column")
