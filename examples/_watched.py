"""The four services, with a record of what each of them really received.

The demo runs them as anyone would run theirs, from the command line:

    python -m messaging run examples._watched:marketing

Each handler counts its events, and reads the fields from the message itself: a view only has the
fields it declares, whatever was sent.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from consumers import BI, Financeiro, Marketing, Plataforma
from messaging import Consumer, Envelope, Reject

__all__ = ["NOTES", "bi", "financeiro", "marketing", "plataforma"]

NOTES = Path("notas")
"""One JSON file for each service, written when it has stopped, in the folder it ran in."""
_Service = TypeVar("_Service", bound=Consumer)


class _Notebook:
    """The events that were handled and rejected, and the names of their fields."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handled: set[str] = set()
        self._rejected: set[str] = set()
        self._fields: set[str] = set()

    def beside(self, handler: Callable[..., None]) -> Callable[..., None]:
        """Wrap `handler` to record each event, by its id: SQS may deliver a message twice."""

        @functools.wraps(handler)
        def noted(view: Any, envelope: Envelope) -> None:
            with self._lock:
                self._fields.update(envelope.data)
            try:
                handler(view, envelope=envelope)
            except Reject:
                with self._lock:
                    self._rejected.add(envelope.id)
                raise
            with self._lock:
                self._handled.add(envelope.id)

        return noted

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        notes = {
            "handled": len(self._handled),
            "rejected": len(self._rejected),
            "fields": sorted(self._fields),
        }
        path.write_text(json.dumps(notes), encoding="utf-8")


def _watched(service: _Service) -> _Service:
    notebook = _Notebook()
    for handler in service.handlers.values():
        setattr(service, handler.name, notebook.beside(getattr(service, handler.name)))
    close = service.close

    def close_and_write() -> None:
        close()
        notebook.write(NOTES / f"{service.service}.json")

    service.close = close_and_write  # type: ignore[method-assign] # this one object, not the class
    threading.Thread(target=_end_with_the_demo, name="demo", daemon=True).start()
    return service


def _end_with_the_demo() -> None:
    # The demo holds the other end. If it is killed, nobody else would stop its services.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def plataforma() -> Plataforma:
    """The platform, recorded."""
    return _watched(Plataforma())


def financeiro() -> Financeiro:
    """The finance department, recorded."""
    return _watched(Financeiro())


def marketing() -> Marketing:
    """Marketing, recorded."""
    return _watched(Marketing())


def bi() -> BI:
    """Business intelligence, recorded."""
    return _watched(BI())
