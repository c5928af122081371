"""Transports in this process that behave like SNS and SQS.

`MemoryBroker` is all that most tests need; the other names are for those who look into it or let
it fail.
"""

from messaging.memory.broker import MemoryBroker
from messaging.memory.faults import Faults, Operation
from messaging.memory.ordering import StoredMessage
from messaging.memory.queue import MemoryQueue
from messaging.memory.topic import MemoryTopic

__all__ = [
    "Faults",
    "MemoryBroker",
    "MemoryQueue",
    "MemoryTopic",
    "Operation",
    "StoredMessage",
]
