"""HTTP responses for events that could not be published: problem documents.

The format is that of RFC 9457, `application/problem+json`. `messaging.fastapi` and
`messaging.flask` use it; other frameworks may too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from messaging.errors import (
    EventTooLarge,
    InvalidCharacters,
    MessagingError,
    PublishError,
    RoundTripError,
    TransportError,
)
from messaging.logs import logger

__all__ = ["MEDIA_TYPE", "PUBLISHING_ERRORS", "Problem", "problem_of"]

log = logger("messaging.problems")

MEDIA_TYPE = "application/problem+json"
PUBLISHING_ERRORS: tuple[type[MessagingError], ...] = (PublishError, TransportError)
"""The errors that `problem_of` handles: register these with your framework."""
_UNSENDABLE = (EventTooLarge, InvalidCharacters, RoundTripError)
_RETRY_AFTER = 5


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A response: its status, and a document without any field's value."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers in addition to its content type."""
        return {"Retry-After": str(_RETRY_AFTER)} if self.status == 503 else {}

    @property
    def body(self) -> str:
        """The document, as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def problem_of(error: MessagingError) -> Problem:
    """The response for one of `PUBLISHING_ERRORS`.

    422 if the event can never be sent: it is too large, contains characters that SNS refuses, or
    would reach its handlers with a different value. The detail names the field. 503 with
    `Retry-After` if the topic did not accept it; the cause is logged, since the caller can do
    nothing about it.
    """
    if isinstance(error, _UNSENDABLE):
        return Problem(title="Unprocessable Content", status=422, detail=str(error))
    log.error("answered with 503: %s: %s", type(error).__name__, error)
    return Problem(
        title="Service Unavailable",
        status=503,
        detail="The event was not accepted. Try again with the same data.",
    )
