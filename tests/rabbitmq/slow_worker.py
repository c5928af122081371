"""A worker that takes a message and never ends; a test kills it."""

from __future__ import annotations

import sys
import time

from messaging.connecting import connect
from messaging.consuming.consumer import Consumer, handles
from messaging.runtime import Worker
from tests.contracts.conftest import ParcelSent


class Depot(Consumer):
    """Says that it handles, and goes on doing so."""

    @handles
    def sent(self, parcel: ParcelSent) -> None:
        sys.stdout.write("handling\n")
        sys.stdout.flush()
        time.sleep(60)


if __name__ == "__main__":
    Worker(Depot(), broker=connect(), wait=1).run()
