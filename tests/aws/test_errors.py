"""Refusals: what botocore raises becomes our own error, with what to do and without the message."""

from __future__ import annotations

import json
import traceback

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from messaging.aws.answers import batch_failures
from messaging.aws.errors import check_batch, translated
from messaging.errors import AccessDenied, NotFound, SettingsError, Throttled, TransportError

SECRET = "Maria 123.456.789-09"


def client_error(code: str, message: str = "", status: int = 400) -> exceptions.ClientError:
    answer = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return exceptions.ClientError(answer, "PublishBatch")


def translate(error: Exception, *, quote: bool = False) -> TransportError:
    where = "sa-east-1 at http://x"
    with (
        pytest.raises(TransportError) as caught,
        translated("publish to", "topic alunos", where, quote=quote),
    ):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        ("NotFound", NotFound, False),
        ("NotFoundException", NotFound, False),
        ("AWS.SimpleQueueService.NonExistentQueue", NotFound, False),
        ("com.amazonaws.sqs#QueueDoesNotExist", NotFound, False),
        ("AccessDenied", AccessDenied, False),
        ("AuthorizationError", AccessDenied, False),
        ("InvalidClientTokenId", AccessDenied, False),
        ("SignatureDoesNotMatch", AccessDenied, False),
        ("ExpiredToken", AccessDenied, False),
        ("Throttling", Throttled, True),
        ("RequestThrottled", Throttled, True),
        ("KmsThrottled", Throttled, True),
        ("KMSThrottling", Throttled, True),
        ("KMS.ThrottlingException", Throttled, True),
        ("com.amazonaws.sqs#KmsThrottled", Throttled, True),
        ("KMS.AccessDeniedException", AccessDenied, False),
        ("KMSAccessDenied", AccessDenied, False),
        ("KmsAccessDenied", AccessDenied, False),
        ("KMS.DisabledException", AccessDenied, False),
        ("KMSDisabled", AccessDenied, False),
        ("KmsDisabled", AccessDenied, False),
        ("KMS.KMSInvalidStateException", AccessDenied, False),
        ("KMS.InvalidStateException", AccessDenied, False),
        ("KMSInvalidState", AccessDenied, False),
        ("KmsInvalidState", AccessDenied, False),
        ("KMS.NotFoundException", AccessDenied, False),
        ("KMSNotFound", AccessDenied, False),
        ("KmsNotFound", AccessDenied, False),
        ("KMS.OptInRequired", AccessDenied, False),
        ("KMSOptInRequired", AccessDenied, False),
        ("KmsOptInRequired", AccessDenied, False),
        ("KmsInvalidKeyUsage", AccessDenied, False),
        ("KMS.KMSInternalException", TransportError, True),
        ("OverLimit", Throttled, True),
        ("InvalidParameter", TransportError, False),
        ("AWS.SimpleQueueService.QueueDeletedRecently", TransportError, True),
        ("InternalError", TransportError, True),
    ],
)
def test_a_code_of_the_service_has_its_error(code, kind, retryable):
    error = translate(client_error(code, "as the service says"))
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.code == code.rpartition("#")[2].removeprefix("AWS.SimpleQueueService.")
    assert "topic alunos in sa-east-1 at http://x" in str(error)


def test_a_status_decides_where_the_code_says_nothing():
    assert translate(client_error("Odd", status=503)).retryable
    assert not translate(client_error("Odd", status=400)).retryable
    assert type(translate(client_error("Odd", status=429))) is Throttled


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="http://x"), TransportError, True),
        (exceptions.ConnectTimeoutError(endpoint_url="http://x"), TransportError, True),
        (exceptions.ReadTimeoutError(endpoint_url="http://x"), TransportError, True),
        (exceptions.ConnectionClosedError(endpoint_url="http://x"), TransportError, True),
        (exceptions.SSLError(endpoint_url="http://x", error="bad"), TransportError, True),
        (ResponseParserError("not XML"), TransportError, True),
        (exceptions.NoCredentialsError(), AccessDenied, False),
        (exceptions.ProfileNotFound(profile="x"), AccessDenied, False),
        (exceptions.ParamValidationError(report="bad"), TransportError, False),
    ],
)
def test_an_error_of_botocore_has_its_error(error, kind, retryable):
    ours = translate(error)
    assert type(ours) is kind
    assert ours.retryable is retryable
    assert ours.code == type(error).__name__


def test_remedies_are_told():
    assert "messaging topology apply" in str(translate(client_error("NotFound")))
    assert "renew them" in str(translate(client_error("ExpiredToken")))
    assert "AWS_PROFILE" in str(translate(exceptions.NoCredentialsError()))
    assert "60 seconds" in str(translate(client_error("QueueDeletedRecently")))


def test_a_kms_key_that_cannot_be_used_is_told_apart_with_its_remedy():
    assert "kms:GenerateDataKey" in str(translate(client_error("KMS.AccessDeniedException")))
    assert "enable the KMS key" in str(translate(client_error("KmsDisabled")))
    missing = str(translate(client_error("KMS.NotFoundException")))
    assert "KMS key was deleted" in missing
    assert "topology apply" not in missing  # the topic is there: it is the key that is not
    assert "KMS" in str(translate(client_error("KmsSomethingNew")))


def test_every_kms_error_that_botocore_knows_of_sns_and_sqs_has_a_remedy():
    import botocore.session

    from messaging.aws.errors import _KMS_REMEDIES, KMS_THROTTLED, kms_said

    session, seen = botocore.session.get_session(), set()
    for service in ("sns", "sqs"):
        model = session.get_service_model(service)
        for name in model.shape_names:
            shape = model.shape_for(name)
            if name.upper().startswith("KMS") and shape.metadata.get("exception"):
                code = shape.metadata.get("error", {}).get("code", name)
                assert kms_said(code) in _KMS_REMEDIES.keys() | KMS_THROTTLED, code
                seen.add(code)
    assert len(seen) >= 13


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("KMS.ThrottlingException", True), ("KmsThrottled", True), ("KMSAccessDenied", False)],
)
def test_a_batch_that_half_fails_for_its_kms_key_retries_only_what_was_throttled(code, retryable):
    answer = {"Failed": [{"Id": "0", "Code": code, "Message": SECRET, "SenderFault": True}]}
    (failure,) = batch_failures(answer, [0], "SQS")
    assert (failure.code, failure.retryable) == (code, retryable)
    assert "KMS key" in failure.message
    assert SECRET not in failure.message


def test_who_and_where_is_quoted_and_what_is_not():
    assert "no policy allows it" in str(
        translate(client_error("AccessDenied", "no policy allows it"))
    )
    assert SECRET not in str(translate(client_error("InvalidParameter", f"bad: {SECRET}")))
    assert "bad name" in str(translate(client_error("InvalidParameter", "bad name"), quote=True))


def test_neither_the_message_nor_a_traceback_tells_the_parameters():
    error = translate(exceptions.ParamValidationError(report=f"Message: {SECRET}"))
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("'list' object has no attribute 'get'"),
        UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, "bad"),
        json.JSONDecodeError("bad", SECRET, 0),
        KeyError(SECRET),
        RecursionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_parser_raises_says_that_the_answer_cannot_be_read(error):
    ours = translate(error)
    assert "the answer cannot be read" in str(ours)
    assert ours.retryable
    assert SECRET not in "".join(traceback.format_exception(ours))


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), UnicodeEncodeError("utf-8", SECRET, 0, 1, "")]
)
def test_any_other_exception_is_told_by_its_name_and_not_tried_again(error):
    ours = translate(error)
    assert (ours.code, ours.retryable) == (type(error).__name__, False)
    assert SECRET not in str(ours)


def test_errors_of_ours_pass_as_they_are():
    with pytest.raises(SettingsError), translated("publish to", "topic alunos", "here"):
        raise SettingsError("no region")


def test_failures_have_their_places_and_no_text_of_the_service():
    answer = {
        "Successful": [{"Id": "1"}],
        "Failed": [
            {"Id": "3", "Code": "InternalError", "Message": SECRET, "SenderFault": False},
            {"Id": "0", "Code": "InvalidParameter", "Message": SECRET, "SenderFault": True},
            {"Id": "2", "Code": "RequestThrottled", "Message": SECRET, "SenderFault": True},
        ],
    }
    failures = batch_failures(answer, range(4), "SNS")
    assert [(one.index, one.code, one.retryable) for one in failures] == [
        (0, "InvalidParameter", False),
        (2, "RequestThrottled", True),
        (3, "InternalError", True),
    ]
    assert not any(SECRET in one.message for one in failures)


def test_an_entry_of_which_nothing_is_said_is_to_be_sent_again():
    failures = batch_failures({"Successful": [{"Id": "4"}]}, [4, 5], "SQS")
    assert [(one.index, one.code, one.retryable) for one in failures] == [(5, "NoAnswer", True)]
    assert batch_failures({"Successful": [{"Id": "4"}, {"Id": "5"}]}, [4, 5], "SQS") == ()


def test_eleven_entries_are_refused_and_ten_are_not():
    check_batch(10, "topic alunos")
    with pytest.raises(TransportError, match="11 entries in one batch for topic alunos") as caught:
        check_batch(11, "topic alunos")
    assert not caught.value.retryable
