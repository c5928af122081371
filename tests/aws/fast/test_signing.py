"""Signatures: AWS's published vectors, and what botocore's own signer makes of anything."""

from __future__ import annotations

import calendar
import hashlib
import time
from typing import NamedTuple

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from messaging.aws.fast.signing import Signer

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html; the signatures are those of
# AWS's Signature Version 4 test suite (v4/NAME/header-signed-request.txt in awslabs/aws-c-auth).
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
MOMENT = calendar.timegm(time.strptime("20150830T123600Z", "%Y%m%dT%H%M%SZ"))
STS_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeo"
    "IYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5V"
    "SXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yj"
    "c8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
SESSION_TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
FORM = b"Param1=value1"
FORM_HEADERS = (
    ("Content-Length", "13"),
    ("X-Amz-Content-Sha256", hashlib.sha256(FORM).hexdigest()),
)


class Vector(NamedTuple):
    name: str
    signature: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    token: str | None = None


VECTORS = (
    Vector(
        "post-vanilla",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    Vector(
        "post-header-key-sort",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        headers=(("My-Header1", "value1"),),
    ),
    Vector(
        "post-sts-header-before",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        token=STS_TOKEN,
    ),
    Vector(
        "get-vanilla-with-session-token",
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        method="GET",
        token=SESSION_TOKEN,
    ),
    Vector(
        "post-x-www-form-urlencoded",
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        headers=(("Content-Type", "application/x-www-form-urlencoded"), *FORM_HEADERS),
        body=FORM,
    ),
    Vector(
        "post-x-www-form-urlencoded-parameters",
        "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
        headers=(
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            *FORM_HEADERS,
        ),
        body=FORM,
    ),
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_published_vectors(vector: Vector) -> None:
    headers = {"Host": "example.amazonaws.com", **dict(vector.headers)}
    sign = Signer(
        region="us-east-1", service="service", path="/", headers=headers, method=vector.method
    )
    credentials = ReadOnlyCredentials(*KEYS, vector.token, None)
    lines = sign(credentials, MOMENT, hashlib.sha256(vector.body).hexdigest())
    names = sorted(
        [
            *map(str.lower, headers),
            "x-amz-date",
            *(["x-amz-security-token"] if vector.token else []),
        ]
    )
    assert lines == (
        "X-Amz-Date: 20150830T123600Z\r\n"
        + (f"X-Amz-Security-Token: {vector.token}\r\n" if vector.token else "")
        + "Authorization: AWS4-HMAC-SHA256 "
        "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={';'.join(names)}, Signature={vector.signature}\r\n"
    )


def botocores(
    credentials: ReadOnlyCredentials,
    region: str,
    service: str,
    path: str,
    headers: dict[str, str],
    moment: float,
    body: bytes,
) -> str:
    """What botocore's signer puts into Authorization at `moment`."""
    auth = SigV4Auth(credentials, service, region)
    request = AWSRequest("POST", f"https://{headers['Host']}{path}", dict(headers), body)
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    signed: str = request.headers["Authorization"]
    return signed


words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(
    credentials=st.builds(ReadOnlyCredentials, words, secrets, st.none() | secrets, st.none()),
    region=words,
    service=words,
    path=st.lists(words, max_size=3).map(lambda parts: "/" + "/".join(parts)),
    more=st.dictionaries(words.map(lambda word: f"x-amz-{word}x"), secrets, max_size=4),
    moment=st.floats(0, 4_000_000_000),
    bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
)
def test_whatever_is_signed_is_signed_as_botocore_does(
    credentials: ReadOnlyCredentials,
    region: str,
    service: str,
    path: str,
    more: dict[str, str],
    moment: float,
    bodies: list[bytes],
) -> None:
    headers = {"Host": "sns.example.com", "Content-Type": "text/plain", **more}
    sign = Signer(region=region, service=service, path=path, headers=headers)
    for step, body in enumerate(bodies):  # the second finds what the first has kept
        now = moment + 40_000 * step
        ours = sign(credentials, now, hashlib.sha256(body).hexdigest())
        theirs = botocores(credentials, region, service, path, headers, now, body)
        assert ours.endswith(f"Authorization: {theirs}\r\n")


def test_other_credentials_and_another_second_sign_anew() -> None:
    sign = Signer(region="r", service="s", path="/", headers={"Host": "h"})
    first, other = (
        ReadOnlyCredentials("A", "b", None, None),
        ReadOnlyCredentials("A", "c", "t", None),
    )
    digest = hashlib.sha256(b"").hexdigest()
    said = [sign(first, 10, digest), sign(first, 10.9, digest), sign(first, 11, digest)]
    assert said[0] == said[1] != said[2]
    assert "X-Amz-Security-Token: t\r\n" in sign(other, 11, digest)
    assert sign(first, 11, digest) == said[2]


def test_credentials_that_were_renewed_meanwhile_sign_as_if_they_were_the_first() -> None:
    old, new = (ReadOnlyCredentials("A", secret, None, None) for secret in "bc")
    sign = Signer(region="r", service="s", path="/", headers={"Host": "h"})
    digest = hashlib.sha256(b"body").hexdigest()
    sign(old, 10, digest)
    renewed = botocores(new, "r", "s", "/", {"Host": "h"}, 11, b"body")
    assert sign(new, 11, digest).endswith(f"Authorization: {renewed}\r\n")


def test_two_bodies_in_one_second_have_their_own_signatures() -> None:
    credentials = ReadOnlyCredentials("A", "b", None, None)
    sign = Signer(region="r", service="s", path="/", headers={"Host": "h"})
    for body in (b"one", b"two", b"one"):
        theirs = botocores(credentials, "r", "s", "/", {"Host": "h"}, 10, body)
        ours = sign(credentials, 10, hashlib.sha256(body).hexdigest())
        assert ours.endswith(f"Authorization: {theirs}\r\n")
