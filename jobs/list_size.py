"""How many texts go into one request: as many as are answered in about the time that is aimed at. Pure."""

FIRST = 64
LONGEST = 512
"""Two lists under way are what a router holds of warm-up traffic for a tier by default (1,024 items)."""
AIM_S = 1.5


class ListSize:
    """Doubles where lists are answered sooner than is aimed at, and halves where they take far longer."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self.value = min(FIRST, longest)

    def answered(self, count: int, seconds: float) -> None:
        """Learn from a list of so many texts; a short one says nothing of longer ones."""
        if seconds > 2 * AIM_S:
            self.value = max(1, min(self.value, count // 2))
        elif seconds < AIM_S / 2 and count >= self.value:
            self.value = min(2 * self.value, self._longest)

    def refused(self, count: int) -> None:
        """Learn that a list of so many was too long; none will be again."""
        self._longest = max(1, min(self._longest, count // 2))
        self.value = min(self.value, self._longest)
