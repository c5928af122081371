"""Starts an SQS message move task, which moves a whole queue, and follows it to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from messaging.aws.clients import Clients
from messaging.aws.errors import translated
from messaging.clock import Clock
from messaging.dead_letters.source import OnProgress
from messaging.errors import TransportError
from messaging.logs import logger

__all__ = ["move_all"]

log = logger("messaging.aws")

LOOK_EVERY = 1.0
"""Seconds between two checks of the task."""


def move_all(
    clients: Clients,
    source: str,
    target: str,
    on_progress: OnProgress,
    stop: Callable[[], bool],
    clock: Clock,
) -> int | None:
    """Move every message of the queue with ARN `source`, a dead-letter queue, to `target`.

    The target is always given: SQS knows no source for letters sent with SendMessage, as this
    library does. A task that is already running, for example after an interruption, is followed;
    SQS allows one at a time. `stop` only stops following it.

    Returns approximately how many were moved; None if the task was refused (a local server has
    none, or the policy does not allow it). Raises `TransportError` if the task fails.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """
    name = source.rpartition(":")[2]
    try:
        task = _last(clients, source, name)
        if not task or task.get("Status") != "RUNNING" or task.get("DestinationArn") != target:
            with translated("move the messages of", f"queue {name}", clients.where, quote=True):
                clients.patient_sqs.start_message_move_task(SourceArn=source, DestinationArn=target)
            task = _last(clients, source, name)
    except TransportError as error:
        # Unknown there, not possible for this queue, or not allowed. Moving letters one by one
        # needs none of it, and raises if there is no answer at all.
        log.info("the messages of %s are moved one by one: no move task (%s)", name, error.code)
        return None
    while True:
        moved = int(task.get("ApproximateNumberOfMessagesMoved", 0))
        on_progress(moved, task.get("ApproximateNumberOfMessagesToMove"))
        if task.get("Status") not in ("RUNNING", None) or stop():
            break
        clock.sleep(LOOK_EVERY)
        task = _last(clients, source, name)
    if task.get("Status") in ("FAILED", "CANCELLED", "CANCELLING"):
        raise TransportError(
            f"the task that moves the messages of queue {name} ended as {task['Status']} after "
            f"{moved} ({task.get('FailureReason', 'no reason given')}); run it again to go on",
            code=task["Status"],
        )
    return moved


def _last(clients: Clients, source: str, name: str) -> Any:
    """The last task of that source; empty if there was none."""
    with translated("list the move tasks of", f"queue {name}", clients.where, quote=True):
        answer = clients.patient_sqs.list_message_move_tasks(SourceArn=source, MaxResults=1)
    return next(iter(answer.get("Results", ())), {})
