"""The library's loggers, which make foreign text printable."""

from __future__ import annotations

import logging
from typing import Any

from messaging.printable import printable

__all__ = ["logger"]


def logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """The logger `name`. Arguments of "%s" are made printable before they are logged.

    Every module of the library uses it, because an id, a type, a group or a reason may be arbitrary
    text.
    """
    return _Printable(logging.getLogger(name), {})


class _Printable(logging.LoggerAdapter[logging.Logger]):
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            # There is one more frame between the caller and the log: this one.
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self.logger.log(level, msg, *map(_shown, args), **kwargs)


def _shown(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value  # "%d" and "%.1f" need the number
    return printable(str(value))
