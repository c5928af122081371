"""The entries that a relay holds, by key: which may be sent now, and which wait behind them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from messaging.outbox.rows import OutboxRow
from messaging.transport import BATCH_ENTRIES

__all__ = ["Lanes"]


@dataclass(slots=True)
class _KeyOrder:
    """One key: the unfinished copies of its first event, and the events behind it."""

    first: str
    left: int = 0
    behind: deque[list[OutboxRow]] = field(default_factory=deque)


class Lanes:
    """Yields each key's events one at a time: the next when the topic has the previous one.

    All copies of an event may be sent together: their order does not matter.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _KeyOrder] = {}
        self._ready: deque[OutboxRow] = deque()
        self._alone: deque[OutboxRow] = deque()

    def __bool__(self) -> bool:
        """Whether something may be sent now."""
        return bool(self._ready or self._alone)

    def __len__(self) -> int:
        """The number of entries that may be sent now."""
        return len(self._ready) + len(self._alone)

    def add(self, rows: Iterable[OutboxRow]) -> None:
        """Add `rows`, ordered by age, behind the existing ones."""
        for row in rows:
            lane = self._lanes.get(row.key)
            if lane is None:
                lane = self._lanes[row.key] = _KeyOrder(row.id)
            if not lane.behind and lane.first == row.id:
                lane.left += 1
                self._ready.append(row)
            elif lane.behind and lane.behind[-1][0].id == row.id:
                lane.behind[-1].append(row)
            else:
                lane.behind.append([row])

    def request(self, max_bytes: int) -> list[OutboxRow]:
        """The entries of the next request: at most `BATCH_ENTRIES`, with `max_bytes` in total."""
        if self._alone:
            return [self._alone.popleft()]
        taken: list[OutboxRow] = []
        size = 0
        while self._ready and len(taken) < BATCH_ENTRIES:
            message = self._ready[0].message
            size += 0 if message is None else message.size
            if taken and size > max_bytes:
                break
            taken.append(self._ready.popleft())
        return taken

    def again_alone(self, rows: Iterable[OutboxRow]) -> None:
        """One of `rows` may have caused the refusal of their request: send each on its own."""
        self._alone.extend(rows)

    def ended(self, row: OutboxRow) -> None:
        """The topic has it, or will never accept it: its key continues."""
        lane = self._lanes[row.key]
        lane.left -= 1
        if lane.left:
            return
        if not lane.behind:
            del self._lanes[row.key]
            return
        event = lane.behind.popleft()
        lane.first, lane.left = event[0].id, len(event)
        self._ready.extend(event)

    def failed(self, row: OutboxRow) -> Sequence[OutboxRow]:
        """It will be retried later: returns the entries of its key that are not in flight, to be
        released."""
        lane = self._lanes[row.key]
        back = [one for event in lane.behind for one in event]
        lane.behind.clear()
        for waiting in (self._ready, self._alone):
            mine = [one for one in waiting if one.key == row.key]
            for one in mine:
                waiting.remove(one)
            back += mine
            lane.left -= len(mine)
        self.ended(row)
        return back
