"""What a catalogue is made of: rows with a text each, and those that could not be read."""

from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One text as it stands in the catalogue, with what else its row says; `line` counts from 1 in its file."""

    file: str
    line: int
    text: str
    id: str | None = None
    metadata: Mapping[str, object] = {}


class Reject(NamedTuple):
    """A row that has no text to embed, and why."""

    file: str
    line: int
    reason: str


class Columns(NamedTuple):
    """Which columns hold the text and the id; a row needs no id."""

    text: str = "text"
    id: str = "id"


Entry = Row | Reject


def entry(file: str, line: int, fields: Mapping[str, object], columns: Columns) -> Entry:
    """Read one row's fields; the text stays as it is, to the last space."""
    text = fields.get(columns.text)
    if text is None:
        return Reject(file, line, f"no {columns.text}")
    if not isinstance(text, str):
        return Reject(file, line, f"{columns.text} is not a string")
    if not text:
        return Reject(file, line, f"{columns.text} is empty")
    if not _is_unicode(text):
        return Reject(file, line, "not valid UTF-8")
    number = fields.get(columns.id)
    metadata = {name: value for name, value in fields.items() if name not in columns}
    return Row(file, line, text, None if number is None else str(number), metadata)


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a character, for which there are no bytes to send."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
