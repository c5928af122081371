"""Random draws by name, so that leaving one out does not change the others."""

from __future__ import annotations

from hashlib import blake2b
from random import Random

__all__ = ["Seeded"]


class Seeded:
    """Draws that depend only on a seed and the name of the draw, in any order.

    With a single stream of random numbers, a scenario without its first fault would be a different
    one, and could not be shortened.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()

    def number(self, name: str) -> int:
        """64 bits."""
        return int.from_bytes(blake2b(name.encode(), key=self._key, digest_size=8).digest(), "big")

    def unit(self, name: str) -> float:
        """A number from 0 (inclusive) to 1 (exclusive)."""
        return self.number(name) / 2**64

    def stream(self, name: str) -> Random:
        """A generator of any number of draws under one name."""
        return Random(self.number(name))
