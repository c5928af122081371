"""Translates botocore's exceptions into the library's own errors.

The service's text about identity, resources and limits is quoted. Its text about a message is not,
because it may quote the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from messaging.errors import AccessDenied, MessagingError, NotFound, Throttled, TransportError
from messaging.transport import BATCH_ENTRIES

__all__ = ["TOPOLOGY_REMEDY", "check_batch", "short_code", "translated"]

TOPOLOGY_REMEDY = "create it with `messaging topology apply`, or check region, account and prefix"

NOT_FOUND = frozenset({"NotFound", "NotFoundException", "QueueDoesNotExist", "NonExistentQueue"})
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
THROTTLED = frozenset(
    {
        "OverLimit",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
PASSING = frozenset(
    {
        "InternalError",
        "InternalErrorException",
        "InternalFailure",
        "QueueDeletedRecently",
        "RequestTimeout",
        "ServiceUnavailable",
    }
)
"""Retryable although the status may be below 500.

https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html
"""
REMEDIES: Mapping[str, str] = {
    "QueueDeletedRecently": "SQS takes the name again 60 seconds after the queue was deleted",
    "OverLimit": "too many messages in flight: more workers, or shorter handlers",
}

_KMS = re.compile(r"KMS\.?(?:KMS)?([a-z]+?)(?:Exception)?", re.IGNORECASE)
"""SNS says KMSAccessDenied; SQS KmsAccessDenied or, as of old, KMS.AccessDeniedException.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""
KMS_THROTTLED = frozenset({"throttled", "throttling"})
KMS_PASSING = frozenset({"internal", "dependencytimeout", "keyunavailable"})
_KMS_REMEDIES: Mapping[str, str] = {
    "accessdenied": (
        "the key's policy must allow kms:GenerateDataKey and kms:Decrypt to every publisher and "
        "consumer, and to sns.amazonaws.com if SNS delivers to an encrypted queue"
    ),
    "disabled": "enable the KMS key, or encrypt with another",
    "invalidstate": "check the KMS key's state: a key that is pending deletion can be restored",
    "notfound": "the KMS key was deleted, or is in another account or region: name another",
    "optinrequired": "the account needs a subscription to KMS, or the key's policy is malformed",
    "invalidkeyusage": "the key must be a symmetric one for ENCRYPT_DECRYPT",
}
KMS_THROTTLED_REMEDY = (
    "raise the queue's KmsDataKeyReusePeriodSeconds or the account's KMS quota, or use SSE-SQS"
)


class translated:  # noqa: N801 - read as a verb: `with translated("publish to", ...)`
    """A context manager around one request: any exception of boto3 becomes a `TransportError`.

    The message reads "cannot {action} {target} in {where}: why; remedy". `quote` means that the
    service's own text may always be shown, because the request contains no message. An instance may
    be reused, also by several threads at once.
    """

    __slots__ = ("_action", "_quote", "_target", "_where")

    def __init__(self, action: str, target: str, where: str, *, quote: bool = False) -> None:
        # Written by hand: a generator with @contextmanager costs as much as signing the request.
        self._action = action
        self._target = target
        self._where = where
        self._quote = quote

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            doing = f"cannot {self._action} {self._target} in {self._where}"
            known = _translate(error, doing, self._quote)
            if known is not None:
                # Not chained: a request's parameters, a message's body among them, may be in the
                # text.
                raise known from None


def _translate(error: Exception, doing: str, quote: bool) -> TransportError | None:
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        return _refused(error, doing, quote)
    name = type(error).__name__
    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.SSOError
        | exceptions.ProfileNotFound,
    ):
        return AccessDenied(
            f"{doing}: no usable AWS credentials ({name}); set AWS_PROFILE, the role of this "
            "machine or task, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            code=name,
        )
    if isinstance(error, exceptions.ParamValidationError):
        return TransportError(
            f"{doing}: boto3 refused the parameters before sending them",
            code=name,
            retryable=False,
            unknown=False,
        )
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        unsent = exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError
        return TransportError(
            f"{doing}: no answer ({name}); check the network and the endpoint",
            code=name,
            unknown=not isinstance(error, unsent),
        )
    if isinstance(error, TimeoutError):
        return TransportError(
            f"{doing}: no answer in the time there was; check the network and the endpoint",
            code="Timeout",
        )
    if isinstance(error, ResponseParserError):
        return TransportError(f"{doing}: the answer cannot be read ({name})", code=name)
    if isinstance(error, MessagingError):
        return None
    if isinstance(error, _UNREADABLE) and not isinstance(error, UnicodeEncodeError):
        # What botocore's parsers and ours raise for a malformed response.
        return TransportError(f"{doing}: the answer cannot be read ({name})", code=name)
    return TransportError(f"{doing}: {name}", code=name, retryable=False)


_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


def _refused(error: Any, doing: str, quote: bool) -> TransportError:
    answer = error.response
    code = short_code(answer.get("Error", {}).get("Code"))
    text = str(answer.get("Error", {}).get("Message") or "")
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{code}: {text}" if text else code
    if code in NOT_FOUND:
        return NotFound(f"{doing}: it does not exist ({code}); {TOPOLOGY_REMEDY}", code=code)
    if code in EXPIRED:
        return AccessDenied(
            f"{doing}: the AWS credentials have expired ({code}): renew them, or set the clock",
            code=code,
        )
    if (kms := kms_said(code)) is not None and kms not in KMS_PASSING:
        # Neither the topic nor the message is at fault, so this is not NotFound, whatever KMS calls
        # it.
        if kms in KMS_THROTTLED:
            return Throttled(f"{doing}: throttled ({said}); {KMS_THROTTLED_REMEDY}", code=code)
        return AccessDenied(
            f"{doing}: its KMS key cannot be used ({said}); {kms_remedy(kms)}", code=code
        )
    if code in DENIED:
        return AccessDenied(f"{doing}: not allowed ({said})", code=code)
    if code in THROTTLED or status == 429:
        remedy = REMEDIES.get(code, "slow down, or ask AWS for a higher quota")
        return Throttled(f"{doing}: throttled ({said}); {remedy}", code=code)
    retryable = status >= 500 or code in PASSING or kms is not None
    told = said if quote else code
    remedy = f"; {REMEDIES[code]}" if code in REMEDIES else ""
    return TransportError(
        f"{doing}: refused with status {status} ({told}){remedy}",
        code=code,
        retryable=retryable,
        unknown=status >= 500,
    )


def kms_said(code: str) -> str | None:
    """KMS's error in lower case, in whichever way SNS or SQS passes it on; otherwise None."""
    found = _KMS.fullmatch(code)
    return None if found is None else found[1].lower()


def kms_remedy(kms: str) -> str:
    """The remedy."""
    return _KMS_REMEDIES.get(kms, "check the KMS key, its policy and its state")


_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


def short_code(said: object) -> str:
    """A service's error code without its namespace; "Unknown" if it is not a code."""
    # SQS returns AWS.SimpleQueueService.NonExistentQueue, or com.amazonaws.sqs#QueueDoesNotExist.
    code = str(said).rpartition("#")[2].removeprefix("AWS.SimpleQueueService.")
    return code if isinstance(said, str) and _CODE.fullmatch(code) else "Unknown"


def check_batch(size: int, target: str) -> None:
    """Raise if a batch has more entries than SNS and SQS accept (a caller's mistake)."""
    if size > BATCH_ENTRIES:
        raise TransportError(
            f"{size} entries in one batch for {target}: at most {BATCH_ENTRIES}",
            code="TooManyEntriesInBatchRequest",
            retryable=False,
            unknown=False,
        )
