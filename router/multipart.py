"""multipart/form-data as a body: files are images' bytes, fields are texts; repeated names make lists."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from router.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

LIST_FIELDS = frozenset(
    {"images", "texts", "input", "labels", "queries", "documents", "items", "text_1", "text_2", "data_1", "data_2"}
)
NUMBER_FIELDS = frozenset({"threshold", "dimensions", "top_k", "top_n"})
CLAIM_FIELDS = frozenset({"return_documents"})
_CLAIMS = {"true": True, "false": False}
MAX_PARTS = 4096


@dataclass(slots=True)
class _Parts:
    """Collects parts as the parser finds them."""

    parts: list[tuple[str, bool, bytes]] = field(default_factory=list)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    has_ended: bool = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.begin,
            "on_part_data": lambda data, start, end: self.data.extend(data[start:end]),
            "on_part_end": self.end,
            "on_header_field": lambda data, start, end: self.header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self.header_value.extend(data[start:end]),
            "on_header_end": self.end_header,
            "on_end": self.finish,
        }

    def begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise TooLarge(f"a multipart body has at most {MAX_PARTS} parts")
        self.disposition, self.data = b"", bytearray()

    def finish(self) -> None:
        self.has_ended = True

    def end_header(self) -> None:
        if bytes(self.header_name).lower() == b"content-disposition":
            self.disposition = bytes(self.header_value)
        self.header_name, self.header_value = bytearray(), bytearray()

    def end(self) -> None:
        _, options = parse_options_header(self.disposition)
        name = options.get(b"name")
        if name is None:
            raise InvalidRequest("a part of the multipart body has no name")
        self.parts.append((name.decode("utf-8", "replace"), b"filename" in options, bytes(self.data)))


def parse_multipart(content_type: str, data: bytes) -> dict[str, object]:
    """The document that a multipart body stands for.

    Args:
        content_type: The Content-Type header with its boundary.
        data: The whole body.

    Raises:
        InvalidRequest: The body is malformed, cut off, or a field is no UTF-8.
        TooLarge: It has too many parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidRequest("a multipart body needs a boundary in its content type")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(data)
        parser.finalize()
    except (MultipartParseError, ValueError) as error:
        raise InvalidRequest("the multipart body is malformed") from error
    if not parts.has_ended:
        raise InvalidRequest("the multipart body was cut off")
    return _document(parts.parts)


def _document(parts: list[tuple[str, bool, bytes]]) -> dict[str, object]:
    document: dict[str, Any] = {}
    for name, is_file, data in parts:
        value = data if is_file else _field(name, data)
        if name in LIST_FIELDS:
            document.setdefault(name, []).append(value)
        elif name in document:
            raise InvalidRequest(f"{name[:200]}: given more than once", name[:200])
        else:
            document[name] = value
    return document


def _field(name: str, data: bytes) -> object:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name[:200]}: not UTF-8", name[:200]) from error
    if name in CLAIM_FIELDS:
        return _claim(name, text)
    if name not in NUMBER_FIELDS:
        return text
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}: expected a number", name) from error


def _claim(name: str, text: str) -> bool:
    try:
        return _CLAIMS[text]
    except KeyError as error:
        raise InvalidRequest(f"{name}: expected true or false", name) from error
