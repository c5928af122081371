"""A base class for objects that are closed at the end of a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """A context manager that returns itself and calls `close` at the end of the block."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Release this object's resources. Closing it twice does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
