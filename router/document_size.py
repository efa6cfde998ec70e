"""How many values a body may hold. Empty maps take a byte of msgpack each, and sixty of memory: bytes bound little."""

from typing import Any

from router.errors import TooLarge

MAX_VALUES = 100_000
"""Values in a body: list items, fields, lists and maps."""
SMALLEST_BYTES = 2
"""A value and what parts it from the next one, in JSON; lists in lists are bounded by the decoder's depth."""


def check_json_size(data: bytes) -> None:
    """Refuse JSON of too many values without decoding it.

    Only what stands outside of strings counts, and that is looked for only where there is much of it.

    Raises:
        TooLarge: It has more than `MAX_VALUES`, in what of it is valid.
    """
    if len(data) <= SMALLEST_BYTES * MAX_VALUES or _values(data) <= MAX_VALUES:
        return
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * MAX_VALUES or _values(b"".join(plain.split(b'"')[::2])) > MAX_VALUES:
        raise too_many_values()


def _values(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


class ValueCounter:
    """Counts the values of one msgpack body while it is decoded; as its hook it sees each list and map once."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def count(self, values: Any) -> Any:
        """Take a list or a map, and let it be.

        Raises:
            TooLarge: It was one too many.
        """
        self._left -= len(values) + 1
        if self._left < 0:
            raise too_many_values()
        return values


def too_many_values() -> TooLarge:
    """Say so."""
    return TooLarge(f"a body has at most {MAX_VALUES} values")
