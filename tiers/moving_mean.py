"""A mean that follows what is measured: each new value counts for a fifth."""

WEIGHT = 0.2


class MovingMean:
    """Exponentially weighted mean; the first value as it is, zero before."""

    __slots__ = ("_is_empty", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._is_empty = True

    def add(self, value: float) -> None:
        """Take one more value in."""
        self.value = value if self._is_empty else self.value + WEIGHT * (value - self.value)
        self._is_empty = False
