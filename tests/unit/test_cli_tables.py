"""Tables: drawn on a terminal, aligned lines in a pipe."""

import io

from secondlook.tables import print_table

COLUMNS = ("text", "ms")
ROWS = [("a cat [red]", "7"), ("a dog", "12.5")]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_pipe_gets_aligned_lines_with_numbers_to_the_right() -> None:
    """No colours, no frames; a marked row has a star."""
    stream = io.StringIO()

    print_table(COLUMNS, ROWS, stream, title="Answers", marked={1})

    assert stream.getvalue().splitlines() == [
        "Answers",
        "  text           ms",
        "  a cat [red]     7",
        "* a dog        12.5",
    ]


def test_terminal_gets_a_table_that_shows_texts_as_they_are() -> None:
    """A bracket in a text is not taken for a style."""
    stream = Terminal()

    print_table(COLUMNS, ROWS, stream)

    assert "a cat [red]" in stream.getvalue()
    assert "─" in stream.getvalue()


def test_table_without_rows_is_its_header() -> None:
    """Nothing to show is not an error."""
    stream = io.StringIO()

    print_table(COLUMNS, [], stream)

    assert stream.getvalue() == "text  ms\n"
