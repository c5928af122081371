"""The bucket: what was put comes back, and a missing object is told from a store that is away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from messaging.aws.s3 import S3BlobStore
from messaging.claimcheck import ClaimCheck
from messaging.envelope import Envelope
from messaging.errors import AccessDenied, CodecError, NotFound, SettingsError, TransportError
from messaging.local import LocalServer
from messaging.settings import Settings
from tests.aws.conftest import REGION


@pytest.fixture
def settings(server: LocalServer) -> Settings:
    return Settings(endpoint_url=server.url, region=REGION)


@pytest.fixture
def s3(settings: Settings, session: boto3.Session) -> Any:
    return session.client("s3", endpoint_url=settings.endpoint_url)


@pytest.fixture
def bucket(prefix: str, s3: Any) -> str:
    name = f"{prefix}claims"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def test_what_was_put_comes_back(
    bucket: str, s3: Any, settings: Settings, session: boto3.Session
) -> None:
    store = S3BlobStore(bucket, prefix="/claims/", settings=settings, session=session)
    store.put("for.bi.view/a.json", b'{"nome":"In\xc3\xaas"}')
    store.put("for.bi.view/a.json", b'{"nome":"In\xc3\xaas"}')

    assert store.get("for.bi.view/a.json") == b'{"nome":"In\xc3\xaas"}'
    found = s3.get_object(Bucket=bucket, Key="claims/for.bi.view/a.json")
    assert found["ContentType"] == "application/json"
    assert store.uri == f"s3://{bucket}/claims"
    assert repr(store) == f"S3BlobStore('s3://{bucket}/claims')"
    store.close()


def test_what_the_extended_client_put_into_a_bucket_is_read(
    bucket: str, s3: Any, settings: Settings, session: boto3.Session
) -> None:
    """As the Java library sends it: the object has an id for its key, and no prefix."""
    document = b'{"specversion":"1.0","id":"1","source":"/java","type":"t","data":{"n":1}}'
    s3.put_object(Bucket=bucket, Key="3f1c5b6e", Body=document)
    claims = S3BlobStore(bucket, prefix="claims", settings=settings, session=session)
    offloaded = S3BlobStore(bucket, settings=settings, session=session)

    def body(key: str, name: str = bucket) -> str:
        kind = "software.amazon.payloadoffloading.PayloadS3Pointer"
        return json.dumps([kind, {"s3BucketName": name, "s3Key": key}])

    codec = ClaimCheck(claims, offloaded=offloaded)
    assert codec.decode(body("3f1c5b6e")).data == {"n": 1}
    for wrong, why in (
        (body("gone"), "is gone"),
        (body("3f1c5b6e", "somebody-elses"), "offloaded=S3BlobStore"),
    ):
        with pytest.raises(CodecError, match=why):
            codec.decode(wrong)
    with pytest.raises(CodecError, match="offloaded=S3BlobStore"):
        ClaimCheck(claims).decode(body("3f1c5b6e"))


def test_big_data_goes_through_a_bucket(
    bucket: str, s3: Any, settings: Settings, session: boto3.Session
) -> None:
    store = S3BlobStore(bucket, settings=settings, session=session)
    codec = ClaimCheck(store, uri=store.uri)
    envelope = Envelope(id="e", source="/s", type="t", audience=("bi",))
    data = b'{"text":"' + b"x" * 300_000 + b'"}'
    body = codec.encode(envelope, data)

    [object] = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert object["Key"].startswith("for.bi.view/")
    assert f"s3://{bucket}/{object['Key']}" in body
    assert codec.decode(body).data == {"text": "x" * 300_000}

    s3.delete_object(Bucket=bucket, Key=object["Key"])
    with pytest.raises(CodecError, match="dataref: the data is not in the store"):
        codec.decode(body)
    store.close()


def test_a_missing_object_is_no_missing_bucket(
    bucket: str, settings: Settings, session: boto3.Session
) -> None:
    store = S3BlobStore(bucket, prefix="claims", settings=settings, session=session)
    with pytest.raises(NotFound, match=rf"no object k in s3://{bucket}/claims \({REGION} at http"):
        store.get("k")
    store.close()

    nowhere = S3BlobStore(f"{bucket}-2", settings=settings, session=session)
    with pytest.raises(TransportError, match="NoSuchBucket") as error:
        nowhere.get("k")
    assert not isinstance(error.value, NotFound), "every message would be dead-lettered"
    with pytest.raises(TransportError, match="NoSuchBucket"):
        nowhere.put("k", b"1")
    nowhere.close()


def test_a_refusal_is_told_and_not_taken_for_a_missing_object(session: boto3.Session) -> None:
    store = S3BlobStore("school", settings=Settings(region=REGION), session=session)
    with Stubber(store._clients.patient_s3) as stubber:
        stubber.add_client_error("get_object", "AccessDenied", "not yours", 403)
        with pytest.raises(AccessDenied, match="cannot read object k of s3://school"):
            store.get("k")
    store.close()


@pytest.mark.parametrize("name", ["", "school/claims"])
def test_a_bucket_is_a_name(name: str) -> None:
    with pytest.raises(SettingsError, match="the name alone"):
        S3BlobStore(name, settings=Settings())


def test_the_owner_is_asked_for(
    bucket: str, settings: Settings, session: boto3.Session, events: Callable[..., list[Any]]
) -> None:
    store = S3BlobStore(bucket, settings=settings, session=session, owner="000000000000")
    said = events(store)
    store.put("k", b"1")
    store.get("k")
    assert [one["headers"].get("x-amz-expected-bucket-owner") for one in said] == [
        "000000000000",
        "000000000000",
    ]
    store.close()


@pytest.fixture
def events() -> Callable[..., list[Any]]:
    def listen(store: S3BlobStore) -> list[Any]:
        said: list[Any] = []
        client = store._clients.patient_s3
        client.meta.events.register("before-call.s3", lambda params, **_: said.append(params))
        return said

    return listen
