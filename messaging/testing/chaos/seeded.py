"""Chance: every throw has a name, so that one left out does not change the others."""

from __future__ import annotations

from hashlib import blake2b
from random import Random

__all__ = ["Seeded"]


class Seeded:
    """Throws that follow from a seed and the name of the throw, in whatever order they are made.

    With one stream of random numbers a story without its first fault would be another story, and
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
        """As many throws as are needed under one name."""
        return Random(self.number(name))
