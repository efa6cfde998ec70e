"""Print rows: a table on a terminal, aligned lines in a pipe."""

from collections.abc import Collection, Sequence
from typing import TextIO

Row = Sequence[str]


def print_table(
    columns: Row, rows: Sequence[Row], stream: TextIO, *, title: str = "", marked: Collection[int] = ()
) -> None:
    """Print `rows` under `columns`; numbers to the right, `marked` rows stand out."""
    if stream.isatty():
        _print_rich(columns, rows, stream, title, marked)
    else:
        _print_plain(columns, rows, stream, title, marked)


def _print_plain(columns: Row, rows: Sequence[Row], stream: TextIO, title: str, marked: Collection[int]) -> None:
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    right = [_is_number(column) for column in zip(*rows, strict=True)] or [False] * len(columns)
    if title:
        print(title, file=stream)
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        mark = "* " if number - 1 in marked else "  " if marked else ""
        print((mark + "  ".join(cells)).rstrip(), file=stream)


def _print_rich(columns: Row, rows: Sequence[Row], stream: TextIO, title: str, marked: Collection[int]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a pipe does not need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left")
    right = [_is_number(column) for column in zip(*rows, strict=True)] or [False] * len(columns)
    for name, to_right in zip(columns, right, strict=True):
        table.add_column(name, justify="right" if to_right else "left")
    for number, row in enumerate(rows):
        # As Text, so that a bracket in somebody's text is not taken for a style.
        table.add_row(*map(Text, row), style="bold yellow" if number in marked else None)
    Console(file=stream).print(table)


def _is_number(column: Sequence[str]) -> bool:
    return all(cell.replace(".", "", 1).replace("-", "", 1).replace("/", "", 1).isdigit() for cell in column)
