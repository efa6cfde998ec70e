"""Lines of a file as bytes, without ever holding more of it than one of them. Pure: what is read is an argument."""

from collections.abc import Iterable, Iterator

MAX_LINE_BYTES = 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Split at line feeds, which stay; None stands for a line that is too long to be one.

    A byte order mark before the first line is the file's and not the line's.
    """
    lines = _lines(chunks)
    first = next(lines, b"")
    if first is None or first.removeprefix(BYTE_ORDER_MARK):
        yield first if first is None else first.removeprefix(BYTE_ORDER_MARK)
    yield from lines


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    rest, is_too_long = b"", False
    for chunk in chunks:
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield None if is_too_long or len(line) > MAX_LINE_BYTES else line + b"\n"
            is_too_long = False
        if len(rest) > MAX_LINE_BYTES:
            rest, is_too_long = b"", True
    if rest or is_too_long:
        yield None if is_too_long else rest
