"""Metrics of a Lambda function, as log lines that CloudWatch reads.

    handler = lambda_handler(Marketing(), observe=CloudWatchMetrics())

Each invocation writes one line in the embedded metric format to stdout, from which CloudWatch
creates metrics without a request. The names are those of `messaging.metrics`; the only dimension is
the service, because each combination of dimensions is a metric that costs money.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from messaging.envelope import time_of
from messaging.errors import ConfigurationError
from messaging.lambda_records import Ended, Invocation
from messaging.outcome import Discard, Reject, Retry
from messaging.settlement import Action, action_of

__all__ = ["MOST_VALUES", "CloudWatchMetrics", "check_namespace"]

MOST_VALUES = 100
"""Maximum values of one metric per line. A larger batch is sampled evenly."""
_NAMESPACE = re.compile(r"[A-Za-z0-9._\-/#: ]{1,255}")


def check_namespace(namespace: str) -> None:
    """Check that CloudWatch accepts a namespace.

    Args:
        namespace: the namespace of the metrics.

    Raises:
        ConfigurationError: if CloudWatch does not accept it.
    """
    if not _NAMESPACE.fullmatch(namespace) or namespace.startswith(("AWS/", ":")):
        raise ConfigurationError(
            f"namespace={namespace!r}: 1 to 255 letters, digits and ._-/#: or blanks, and not "
            "AWS/, which is Amazon's"
        )


class CloudWatchMetrics:
    """Writes the metrics of each invocation; the `observe` of `lambda_handler`.

    A line contains counts, seconds, the service's name, the request's id and classes of errors, but
    no event data and no text of a reason.

    Args:
        namespace: the metrics' namespace in CloudWatch.
        write: takes the line, including its newline; by default stdout, which Lambda sends to the
            log.

    Example:
        ```python
        from messaging.emf import CloudWatchMetrics
        from messaging.lambda_handler import lambda_handler

        handler = lambda_handler(Marketing(), observe=CloudWatchMetrics(namespace="escola"))
        ```
    """

    def __init__(
        self, *, namespace: str = "messaging", write: Callable[[str], object] | None = None
    ) -> None:
        check_namespace(namespace)
        self._namespace = namespace
        self._write = write

    def __call__(self, invocation: Invocation) -> None:
        """Write one line, if there were any records."""
        if invocation.ended:
            write = sys.stdout.write if self._write is None else self._write
            write(json.dumps(self._document(invocation), allow_nan=False) + "\n")
            if self._write is None:
                sys.stdout.flush()

    def _document(self, invocation: Invocation) -> dict[str, Any]:
        found = dict(_measured(invocation))
        reasons = Counter(
            one.outcome.error or "rejected"
            for one in invocation.ended
            if one.dead_lettered and isinstance(one.outcome, Reject)
        )
        directive = {
            "Namespace": self._namespace,
            "Dimensions": [["service"]],
            "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in found.items()],
        }
        return {
            "_aws": {"Timestamp": int(invocation.at * 1000), "CloudWatchMetrics": [directive]},
            "service": invocation.service,
            **({"request_id": invocation.request_id} if invocation.request_id else {}),
            **({"dead_letter_reasons": dict(reasons)} if reasons else {}),
            **{name: value for name, (_, value) in found.items()},
        }


def _measured(invocation: Invocation) -> Iterator[tuple[str, tuple[str, float | list[float]]]]:
    """By metric name: the unit, and the value or values."""
    ended = invocation.ended
    counts = Counter(map(_settled, ended))
    yield "messaging.worker.received", ("Count", len(ended))
    for outcome in ("acknowledged", "released", "dead_lettered"):
        yield f"messaging.worker.settled.{outcome}", ("Count", counts[outcome])
    discarded = sum(isinstance(one.outcome, Discard) for one in ended)
    yield "messaging.worker.discarded", ("Count", discarded)
    retries = sum(
        isinstance(one.outcome, Retry) and one.outcome.origin != "worker" for one in ended
    )
    yield "messaging.worker.retries", ("Count", retries)
    times = [time_of(one.delivery.body) for one in ended]
    for name, values in (
        ("handler_duration", [one.seconds for one in ended if one.seconds is not None]),
        ("time_in_queue", [_waited(one) for one in ended if one.delivery.sent_at]),
        ("event_age", [max(0.0, invocation.at - time) for time in times if time is not None]),
    ):
        if values:
            yield f"messaging.worker.{name}", ("Seconds", _some(values))


def _settled(one: Ended) -> str:
    if one.dead_lettered:
        return "dead_lettered"
    deleted = one.outcome is not None and action_of(one.outcome) is Action.DELETE
    return "acknowledged" if deleted else "released"


def _waited(one: Ended) -> float:
    return max(0.0, one.delivery.received_at - one.delivery.sent_at)


def _some(values: Sequence[float]) -> list[float]:
    count = min(len(values), MOST_VALUES)
    return [round(values[at * len(values) // count], 6) for at in range(count)]
