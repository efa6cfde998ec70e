"""Catalogues: what counts as a text, what is rejected and why, in each format."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.byte_lines import MAX_LINE_BYTES, lines_of
from jobs.catalogue import count_rows, find_files, format_of, read_catalogue
from jobs.errors import CatalogueRefused
from jobs.row_formats import Format
from jobs.rows import Columns, Entry, Reject, Row

BYTES_BEYOND = b"\xff\xfe"


def read(file: Path, **columns: str) -> list[Entry]:
    """All rows of one file."""
    return list(read_catalogue([str(file)], Columns(**columns)))


def texts(entries: list[Entry]) -> list[str]:
    """Those of the good rows."""
    return [entry.text for entry in entries if isinstance(entry, Row)]


def reasons(entries: list[Entry]) -> list[tuple[int, str]]:
    """Where the others stand, and what is wrong with them."""
    return [(entry.line, entry.reason) for entry in entries if isinstance(entry, Reject)]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    """A file."""
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@given(lines=st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), cut=st.integers(1, 7))
def test_lines_are_the_same_however_they_are_read(lines: list[bytes], cut: int) -> None:
    """A chunk may end anywhere; a last line needs no end."""
    data = b"\n".join([b"first", *lines])

    found = list(lines_of(data[start : start + cut] for start in range(0, len(data), cut)))

    assert found == [line for line in data.splitlines(keepends=True) if line] or b"".join(map(bytes, found)) == data  # type: ignore[arg-type] # no line is too long
    assert all(line is not None and (line.endswith(b"\n") or line == found[-1]) for line in found)


def test_line_without_an_end_does_not_fill_the_memory() -> None:
    """It is told, and the next line is read."""

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * MAX_LINE_BYTES
        yield b"\nnext\n"

    assert list(lines_of(chunks())) == [None, b"next\n"]


def test_txt_keeps_each_line_as_it_is(tmp_path: Path) -> None:
    """Spaces, tabs and all that Unicode takes for the end of a line belong to the text; an empty line is none."""
    file = written(tmp_path, "a.txt", "\ufeff a cat \r\n\n\tdog\u2028or\x0bnot\n  \nlast")

    entries = read(file)

    assert texts(entries) == [" a cat ", "\tdog\u2028or\x0bnot", "  ", "last"]
    assert [entry.line for entry in entries] == [1, 3, 4, 5]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_bytes_that_are_no_text_are_rejected_alone(tmp_path: Path, name: str) -> None:
    """Nothing is put in their place."""
    head = b"text\n" if name == "a.csv" else b""
    good = b'"fine"\n'
    file = written(tmp_path, name, head + good + b'"' + BYTES_BEYOND + b'"\n' + good)

    entries = read(file)

    assert len(texts(entries)) == 2
    assert len(reasons(entries)) == 1


def test_jsonl_takes_objects_and_strings_with_what_else_they_say(tmp_path: Path) -> None:
    """The id and everything else stay with the row."""
    file = written(tmp_path, "a.jsonl", '{"title": "a cat", "sku": 7, "price": 3}\n\n"a dog"\n')

    first, second = read(file, text="title", id="sku")

    assert first == Row(str(file), 1, "a cat", "7", {"price": 3})
    assert second == Row(str(file), 3, "a dog", None, {})


def test_jsonl_rejects_rows_one_by_one(tmp_path: Path) -> None:
    """Each with its line and its reason."""
    lines = ["{", "[1]", '{"id": 1}', '{"text": 5}', '{"text": ""}', '{"text": "\\ud800"}', '{"text": "good"}']

    entries = read(written(tmp_path, "a.jsonl", "\n".join(lines)))

    assert texts(entries) == ["good"]
    assert reasons(entries) == [
        (1, "not JSON"),
        (2, "neither an object nor a string"),
        (3, "no text"),
        (4, "text is not a string"),
        (5, "text is empty"),
        (6, "not JSON"),
    ]


def test_csv_reads_quoted_texts_over_several_lines(tmp_path: Path) -> None:
    """Line numbers are the file's."""
    file = written(tmp_path, "a.csv", 'id,text,price\n1,"a cat,\r\nasleep",3\n\n2,a dog,4\n')

    first, second = read(file)

    assert first == Row(str(file), 3, "a cat,\r\nasleep", "1", {"price": "3"})
    assert second == Row(str(file), 5, "a dog", "2", {"price": "4"})


def test_csv_rejects_rows_one_by_one(tmp_path: Path) -> None:
    """Too many columns, bad quotes, a field that is too long, a line that is too long."""
    lines = ["id,text", "1,a,b", '2,"a" b', f"3,{'x' * 200_000}", f"4,{'x' * 2 * MAX_LINE_BYTES}", "5,good"]

    entries = read(written(tmp_path, "a.csv", "\n".join(lines)))

    assert texts(entries) == ["good"]
    assert [line for line, _ in reasons(entries)] == [2, 3, 4, 5]


def test_tsv_is_csv_with_tabs(tmp_path: Path) -> None:
    """By its name."""
    assert texts(read(written(tmp_path, "a.tsv", "text\tid\na, b\t1\n"))) == ["a, b"]


@pytest.mark.parametrize("name", ["a.csv", "b.tsv"])
def test_header_without_the_texts_column_ends_the_job(tmp_path: Path, name: str) -> None:
    """It is a wrong option and not a bad row."""
    with pytest.raises(CatalogueRefused, match="no column text, only title: name it with --text-column"):
        read(written(tmp_path, name, "title\na cat\n"))


def test_files_are_found_by_name_and_by_wildcard_each_once(tmp_path: Path) -> None:
    """In order; `-` is standard input."""
    one, two = written(tmp_path, "1.txt", "a"), written(tmp_path, "2.txt", "b")

    assert find_files([str(two), str(tmp_path / "*.txt"), "-"]) == [str(two), str(one), "-"]


@pytest.mark.parametrize("names", [["none.txt"], ["none*.txt"], ["-", "-"]])
def test_file_that_is_not_there_is_refused(names: list[str]) -> None:
    """As is to read standard input twice."""
    with pytest.raises(CatalogueRefused):
        find_files(names)


@pytest.mark.parametrize(
    ("file", "given", "found"), [("a.NDJSON", None, "jsonl"), ("a", "csv", "csv"), ("-", None, "txt")]
)
def test_format_is_given_or_the_names(file: str, given: Format | None, found: str) -> None:
    """What is given counts."""
    assert format_of(file, given) == found


@pytest.mark.parametrize(("file", "given"), [("a.pdf", None), ("a", None), ("-", "parquet")])
def test_format_that_nobody_says_is_refused(file: str, given: Format | None) -> None:
    """It is not guessed."""
    with pytest.raises(CatalogueRefused):
        format_of(file, given)


def test_rows_are_counted_for_the_bar(tmp_path: Path) -> None:
    """Standard input can't be."""
    files = [str(written(tmp_path, "a.txt", "a\nb\n")), str(written(tmp_path, "a.csv", "text\na\n"))]

    assert count_rows(files) == 3
    assert count_rows([*files, "-"]) is None


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = written(tmp_path, "a.parquet", "PAR1")

    with pytest.raises(CatalogueRefused, match=r"pip install 'secondlook\[parquet\]'"):
        read(file)


@given(text=st.text(min_size=1).filter(lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text))
def test_text_is_never_altered(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever characters it has: JSON keeps them all."""
    import orjson  # noqa: PLC0415

    row: dict[str, Any] = {"text": text}
    file = written(tmp_path_factory.mktemp("texts"), "a.jsonl", orjson.dumps(row))

    assert texts(read(file)) == [text]
