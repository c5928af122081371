"""A relay as a process of its own, for tests that kill it: its topic is a line in a file.

python -m tests.outbox.relaying URL FILE LEASE [REQUESTS]

With REQUESTS it gets a SIGTERM in the middle of the request of that number; with -1 for it, several
requests are under way at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Generator, Sequence

from messaging.outbox import Relay, connector
from messaging.transport import Failure, Outgoing


class FileTopic:
    """Accepts everything, and takes its time before it answers."""

    max_bytes = 262_144

    def __init__(self, path: str, last: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._left = last

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        lines = [f"{one.id} {json.loads(one.body)['data']['n']} {os.getpid()}\n" for one in batch]
        os.write(self._file, "".join(lines).encode())
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        return ()

    def close(self) -> None: ...


class ManyAtOnce(FileTopic):
    """The same for a relay that does not wait for one request before it sends the next."""

    def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
        answer = self.publish(batch)
        yield
        return answer


def main(url: str, path: str, lease: str, last: str = "0") -> None:
    topic = (ManyAtOnce if last == "-1" else FileTopic)(path, int(last))
    with Relay(connector(url), topic, lease=float(lease), poll=0.05, batch=40, keep=None) as relay:
        signal.signal(signal.SIGTERM, lambda number, frame: relay.stop())
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        relay.run()
        sys.stdout.write(f"{relay.stats.published}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
