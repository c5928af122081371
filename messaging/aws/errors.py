"""The room of refusals: what botocore raises becomes one of the library's own errors, here only.

What the service says about who, where and how often is quoted. What it says about a message is
not: it may quote the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from messaging.errors import AccessDenied, NotFound, Throttled, TransportError
from messaging.transport import BATCH_ENTRIES, Failure

__all__ = ["TOPOLOGY_REMEDY", "batch_failures", "check_batch", "translated"]

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
"""Worth another attempt although the status may be below 500.

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
_KMS_THROTTLED = frozenset({"throttled", "throttling"})
_KMS_PASSING = frozenset({"internal", "dependencytimeout", "keyunavailable"})
_KMS_REMEDIES: Mapping[str, str] = {
    "accessdenied": (
        "the key's policy must allow kms:GenerateDataKey and kms:Decrypt to whoever publishes and "
        "receives, and to sns.amazonaws.com where SNS feeds an encrypted queue"
    ),
    "disabled": "enable the KMS key, or encrypt with another",
    "invalidstate": "look at the KMS key's state: one that is pending deletion can be restored",
    "notfound": "the KMS key was deleted, or is in another account or region: name another",
    "optinrequired": "the account needs a subscription to KMS, or the key's policy is malformed",
    "invalidkeyusage": "the key must be a symmetric one for ENCRYPT_DECRYPT",
}
_KMS_THROTTLED_REMEDY = (
    "raise the queue's KmsDataKeyReusePeriodSeconds or the account's KMS quota, or use SSE-SQS"
)


class translated:  # noqa: N801 - read as a verb: `with translated("publish to", ...)`
    """Around one request: whatever boto3 raises in it becomes a `TransportError`.

    The message reads "cannot {action} {target} in {where}: why; remedy". `quote` says that the
    service's own text may always be told, because the request holds no message. One may be used
    again and again, by several threads at once.
    """

    __slots__ = ("_action", "_quote", "_target", "_where")

    def __init__(self, action: str, target: str, where: str, *, quote: bool = False) -> None:
        # By hand: a generator with @contextmanager costs as much as signing the request.
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
            f"{doing}: boto3 refused the parameters before sending them", code=name, retryable=False
        )
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return TransportError(
            f"{doing}: no answer ({name}); check the network and the endpoint", code=name
        )
    if isinstance(error, ResponseParserError):
        return TransportError(f"{doing}: the answer cannot be read ({name})", code=name)
    if isinstance(error, exceptions.BotoCoreError):
        return TransportError(f"{doing}: {name}", code=name, retryable=False)
    return None


def _refused(error: Any, doing: str, quote: bool) -> TransportError:
    answer = error.response
    code = _short(answer.get("Error", {}).get("Code"))
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
    if (kms := _kms(code)) is not None and kms not in _KMS_PASSING:
        # Neither the topic nor the message is at fault, so not NotFound, whatever KMS calls it.
        if kms in _KMS_THROTTLED:
            return Throttled(f"{doing}: throttled ({said}); {_KMS_THROTTLED_REMEDY}", code=code)
        return AccessDenied(
            f"{doing}: its KMS key cannot be used ({said}); {_kms_remedy(kms)}", code=code
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
        f"{doing}: refused with status {status} ({told}){remedy}", code=code, retryable=retryable
    )


def _kms(code: str) -> str | None:
    """What KMS said, in small letters, whichever way SNS or SQS passes it on; else None."""
    found = _KMS.fullmatch(code)
    return None if found is None else found[1].lower()


def _kms_remedy(kms: str) -> str:
    return _KMS_REMEDIES.get(kms, "look at the KMS key, its policy and its state")


def _short(code: object) -> str:
    # SQS says AWS.SimpleQueueService.NonExistentQueue, or com.amazonaws.sqs#QueueDoesNotExist.
    return str(code or "Unknown").rpartition("#")[2].removeprefix("AWS.SimpleQueueService.")


def check_batch(size: int, target: str) -> None:
    """Raise if a batch has more entries than SNS and SQS take (a caller's mistake)."""
    if size > BATCH_ENTRIES:
        raise TransportError(
            f"{size} entries in one batch for {target}: at most {BATCH_ENTRIES}",
            code="TooManyEntriesInBatchRequest",
            retryable=False,
        )


def batch_failures(answer: Any, asked: Sequence[int], service: str) -> Sequence[Failure]:
    """The refused entries of a batch whose entries had the Ids `asked`, which are their places.

    An entry of which the answer says nothing counts as refused, to be sent again: the library
    promises at least once.
    """
    failed = answer.get("Failed") or ()
    accepted = answer.get("Successful") or ()
    if not failed and len(accepted) == len(asked):
        return ()
    failures = {int(entry["Id"]): _failure(entry, service) for entry in failed}
    silent = set(asked) - failures.keys() - {int(entry["Id"]) for entry in accepted}
    for index in silent:
        failures[index] = Failure(index, "NoAnswer", f"{service} said nothing of this entry", True)
    return tuple(failures[index] for index in sorted(failures))


def _failure(entry: Mapping[str, Any], service: str) -> Failure:
    code = _short(entry.get("Code"))
    kms = _kms(code)
    ours = bool(entry.get("SenderFault")) and code not in THROTTLED and code not in PASSING
    if kms is not None:
        ours = kms not in _KMS_THROTTLED and kms not in _KMS_PASSING
        remedy = f"; {_kms_remedy(kms)}" if ours else ""
        message = f"{service} cannot use the KMS key for the entry ({code}){remedy}"
        return Failure(int(entry["Id"]), code, message, not ours)
    message = (
        f"{service} refused the entry ({code}); it would refuse it again"
        if ours
        else f"{service} could not take the entry now ({code})"
    )
    return Failure(int(entry["Id"]), code, message, not ours)
