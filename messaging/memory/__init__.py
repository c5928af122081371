"""Transports in this process that behave like SNS and SQS.

Most tests need only `MemoryBroker`; the other names are for inspecting it and injecting faults.
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
