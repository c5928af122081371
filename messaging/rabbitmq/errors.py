"""Translates the client's exceptions into the library's own errors."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pika.exceptions

from messaging.errors import AccessDenied, MessagingError, NotFound, TransportError
from messaging.transport import BATCH_ENTRIES

__all__ = ["NOT_FOUND", "TOPOLOGY_REMEDY", "check_batch", "translated", "was_closed"]

TOPOLOGY_REMEDY = "create it with `messaging topology apply`, or check virtual host and prefix"

_PROBABLY = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
)
"""The client's errors for a connection that ended while being opened, for any reason."""
CLOSED_BY_BROKER = "ConnectionClosedByBroker"
"""Part of the text of such an error if the broker gave a reason, as it does for a refusal."""
NOT_FOUND, NO_ACCESS, NOT_ALLOWED, PRECONDITION = 404, 403, 530, 406
"""Reply codes. https://www.rabbitmq.com/amqp-0-9-1-reference#constants"""


def translated(error: BaseException, subject: str) -> Exception:
    """Translate an `error` of the client to one of ours, quoting the broker's text about names."""
    if isinstance(error, MessagingError):
        return error
    causes = list(_causes(error))
    for one in causes:
        code = getattr(one, "reply_code", None)
        text = str(getattr(one, "reply_text", ""))[:300]
        if code == NOT_FOUND:
            return NotFound(f"{subject} does not exist ({text}); {TOPOLOGY_REMEDY}", code="404")
        if code in (NO_ACCESS, NOT_ALLOWED):
            return AccessDenied(f"{subject}: not allowed ({text})", code=str(code))
        if isinstance(one, pika.exceptions.AuthenticationError) or (
            isinstance(one, _PROBABLY) and CLOSED_BY_BROKER in str(one.args)
        ):
            return AccessDenied(
                f"{subject}: RabbitMQ refuses the user, the password or the virtual host",
                code=type(one).__name__,
            )
        if isinstance(one, ssl.SSLCertVerificationError):
            return TransportError(
                f"{subject}: the broker's certificate is refused: {one.verify_message}. Its own "
                "authority is named by cacertfile= in MESSAGING_BROKER_URL, and the host there "
                "must be one that the certificate names",
                code="CertificateRefused",
            )
        if code == PRECONDITION:
            return TransportError(f"{subject}: {text}", code=str(code), retryable=False)
    last = causes[-1]
    return TransportError(
        f"{subject}: the connection to RabbitMQ failed ({type(last).__name__})",
        code=type(last).__name__,
    )


def check_batch(number: int, target: str) -> None:
    """Refuse a batch with more entries than allowed."""
    if number > BATCH_ENTRIES:
        raise TransportError(
            f"{number} entries in one batch for {target}; it takes {BATCH_ENTRIES}",
            code="TooManyEntriesInBatchRequest",
            retryable=False,
        )


def was_closed(target: str) -> TransportError:
    """The error of using `target` after its end."""
    said = f"{target} was closed; ask the broker for another"
    return TransportError(said, code="Closed", retryable=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and the errors inside it: the client wraps the error of each connection attempt."""
    yield error
    for one in getattr(error, "exceptions", ()):
        yield from _causes(one)
    inner = getattr(error, "exception", None)
    if isinstance(inner, BaseException):
        yield from _causes(inner)
