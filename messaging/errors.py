"""The exceptions of this library, in one hierarchy, so that one `except` catches a whole kind.

    MessagingError
    ├── ConfigurationError        the code or the environment is wrong: found at import or at start
    │   ├── EventError            an event or a projection is declared wrongly
    │   ├── ConsumerError         a service's handlers are declared wrongly
    │   ├── TopologyError         the topology breaks a limit of SNS or SQS
    │   └── SettingsError         an environment variable is invalid
    ├── CodecError                a body cannot be read, ever: dead-letter it, never retry
    ├── PublishError              some events were not accepted; `.result` says which and why
    │   ├── BufferFull            a buffer has no room, and may not wait for it here
    │   ├── EventTooLarge         larger than the topic accepts; nothing was sent
    │   ├── InvalidCharacters     SNS would refuse it; nothing was sent
    │   └── RoundTripError        its handlers would get another value; nothing was sent
    ├── TransportError            there was no answer, or the whole request was refused
    │   ├── NotFound              the topic or the queue does not exist
    │   │   └── TopicNotFound     the topic to subscribe queues to does not exist yet
    │   ├── AccessDenied          credentials are missing, expired or not allowed to do this
    │   └── Throttled             too many requests; try again later
    ├── OwnershipError            a topic or a queue has another owner; nothing was changed
    ├── WorkerWedged              all handlers of a service hang, and the worker stops because of it
    ├── InvalidReturn             a handler returned something other than None or an outcome
    ├── HandlerTimeout            a handler took longer than its consumer allows
    └── MissingExtra              a feature needs `pip install messaging-sns-sqs[...]`

The outcomes that a handler raises to decide about its message (`Retry`, `Reject`, `Discard`) are
not errors: see `messaging.outcome`.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "BufferFull",
    "CodecError",
    "ConfigurationError",
    "ConsumerError",
    "EventError",
    "EventTooLarge",
    "HandlerTimeout",
    "InvalidCharacters",
    "InvalidReturn",
    "MessagingError",
    "MissingExtra",
    "NotFound",
    "OwnershipError",
    "PublishError",
    "RoundTripError",
    "SettingsError",
    "Throttled",
    "TopicNotFound",
    "TopologyError",
    "TransportError",
    "WorkerWedged",
]


class MessagingError(Exception):
    """The base of all exceptions that this library raises on purpose."""


class ConfigurationError(MessagingError):
    """The code or the environment is wrong; nothing was sent or received."""


class EventError(ConfigurationError, TypeError):
    """An event, a projection or an upcast is declared wrongly."""


class ConsumerError(ConfigurationError, TypeError):
    """A consumer's handlers are declared wrongly."""


class TopologyError(ConfigurationError, ValueError):
    """The topology breaks a limit of SNS or SQS; the message names the limit."""


class SettingsError(ConfigurationError, ValueError):
    """Environment variables are invalid; the message lists all of them at once."""


class CodecError(MessagingError, ValueError):
    """A message body that can never be read. `reason` names the field, never its value.

    Args:
        reason: what is wrong, and in which field.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PublishError(MessagingError):
    """Some events were not accepted. `result` (a `PublishResult`) says which, and why.

    Args:
        message: what happened, without personal data.
        result: the accepted and the refused events.
    """

    def __init__(self, message: str, *, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class BufferFull(PublishError):
    """A buffered publisher has no room, and waiting for it would block an event loop, or the very
    thread that makes room; nothing was sent."""


class EventTooLarge(PublishError):
    """The encoded event is larger than the topic accepts; raised before any network call."""


class InvalidCharacters(PublishError):
    """A field contains a character outside XML 1.0, which SNS refuses; raised before any call."""


class RoundTripError(PublishError):
    """A handler would get a different value than was published, or none; raised before any call.

    The message names the field, never its value.
    """


class TransportError(MessagingError):
    """There was no answer, or the whole request was refused.

    `retryable` is True if the same request may succeed later. `code` is the service's own error
    code, or the name of the network error. `unknown` is True if the request may have been executed
    anyway, and False if it certainly was not.

    Args:
        message: what happened, without personal data.
        code: the server's or the driver's error code, if there is one.
        retryable: whether trying again may help.
        unknown: whether the request may have been executed anyway.
    """

    retryable: bool = True
    unknown: bool = True

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        retryable: bool | None = None,
        unknown: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        if retryable is not None:
            self.retryable = retryable
        if unknown is not None:
            self.unknown = unknown


class NotFound(TransportError):
    """The topic or queue does not exist (or not in this account and region).

    The parameters are those of `TransportError`.
    """

    retryable = False
    unknown = False


class TopicNotFound(NotFound):
    """The topic to subscribe queues to does not exist: its owner must create it first.

    Raised before anything was created. The same `apply` will work later.

    The parameters are those of `TransportError`.
    """


class AccessDenied(TransportError):
    """Credentials are missing, expired, or do not allow the call.

    The parameters are those of `TransportError`.
    """

    retryable = False
    unknown = False


class Throttled(TransportError):
    """Too many requests: the service asks to slow down.

    The parameters are those of `TransportError`.
    """

    unknown = False


class OwnershipError(MessagingError):
    """A topic or a queue belongs to another owner, by its tags. Nothing was changed."""


class HandlerTimeout(MessagingError):
    """A handler took longer than `handler_timeout`, or than its lease can be renewed.

    It is never raised: it is passed to the `RetryPolicy`, and its name is the error recorded with a
    dead letter. Name it in `RetryPolicy(never=...)` to try such messages only once.
    """


class InvalidReturn(MessagingError, TypeError):
    """A handler returned something other than None or an outcome: a mistake of the service.

    It is passed to the `RetryPolicy`: the message is not acknowledged, because it may not have been
    handled.
    """


class WorkerWedged(MessagingError):
    """All handlers of a service hang. Raised by `Worker.run` if it is configured to stop then."""


class MissingExtra(ConfigurationError, ImportError):
    """A feature needs packages that are not installed; it says how to get them.

    Args:
        needs: what needs which package, like "PostgreSQL needs psycopg"; without `extra` all that
            is to be said.
        extra: the extra of this library that installs it.
    """

    def __init__(self, needs: str, extra: str | None = None) -> None:
        how = f', which is not installed; run: pip install "messaging-sns-sqs[{extra}]"'
        super().__init__(needs if extra is None else needs + how)
