"""Random draws by name, so that leaving one out does not change the others."""

from __future__ import annotations

from hashlib import blake2b
from random import Random

__all__ = ["Seeded"]


class Seeded:
    """Draws that follow from a seed and the name of the draw, in any order.

    With one stream of random numbers, a scenario without its first fault would be another one, and
    nothing could be made shorter.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()

    def number(self, name: str) -> int:
        """64 bits."""
        return int.from_bytes(blake2b(name.encode(), key=self._key, digest_size=8).digest(), "big")

    def unit(self, name: str) -> float:
        """At least 0 and below 1."""
        return self.number(name) / 2**64

    def stream(self, name: str) -> Random:
        """As many draws as are needed under one name."""
        return Random(self.number(name))
