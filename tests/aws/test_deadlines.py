"""A publish ends when its time is over, whatever keeps silent: the topic, STS, S3, credentials."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import boto3
import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials

from messaging.aws import connect
from messaging.aws.bounded import MOST, Bounded
from messaging.aws.broker import AwsBroker
from messaging.aws.s3 import S3BlobStore
from messaging.claimcheck import ClaimCheck
from messaging.clock import SYSTEM_CLOCK
from messaging.deadline import CURRENT, Deadline
from messaging.errors import PublishError, TransportError
from messaging.publishing.publisher import Publisher
from messaging.publishing.results import NotPublished
from messaging.settings import Settings
from messaging.testing import FakeClock
from tests.aws.broken import Answers, batch, http, refused, taken
from tests.scripted import Noted, ScriptedTopic

ARN = "arn:aws:sns:us-east-1:000000000000:alunos"
SHORT = 0.3
"""Seconds of a publish. Every timeout of boto3 is longer by far."""

Made = TypeVar("Made")


class Silent:
    """Accepts connections, reads, and never answers; with `drip`, a byte now and then."""

    def __init__(self, *, drip: bool = False) -> None:
        self._drip = drip
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        socket.create_connection(self._listener.getsockname()).close()  # wakes `_accept`
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            self._open.append(connection)
            if self._drip:
                self._threads.append(threading.Thread(target=self._drop, args=(connection,)))
                self._threads[-1].start()

    def _drop(self, connection: socket.socket) -> None:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n<PublishBatch")
            while not self._over.wait(0.02):
                connection.sendall(b" ")
        except OSError:
            pass


@pytest.fixture(params=[False, True], ids=["silent", "drips"])
def silent(request: pytest.FixtureRequest) -> Iterator[Silent]:
    made = Silent(drip=request.param)
    yield made
    made.close()


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


def new_session() -> Any:
    return boto3.Session("a", "b", region_name="us-east-1")  # type: ignore[call-overload]  # positional keys


@pytest.fixture
def topic() -> Iterator[Callable[..., Any]]:
    made: list[AwsBroker] = []

    def make(url: str, transport: Any, name: str = ARN, session: Any = None, **more: Any) -> Any:
        settings = Settings(
            topic=name, endpoint_url=url, region="us-east-1", transport=transport, **more
        )
        made.append(connect(settings, session=session or new_session()))
        if session is None:
            made[-1]._clients.topics  # noqa: B018 - boto3's models load slowly on a busy machine
        return made[-1].topic()

    yield make
    for broker in made:
        broker.close()


def ends(call: Callable[[], Made]) -> Made:
    """What `call` returns, while boto3's own timeouts would let it wait on."""
    said: list[Made] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            said.append(call())
        except BaseException as error:  # noqa: BLE001 - raised below
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for ever"
    if raised:
        raise raised[0]
    return said[0]


def failures(call: Callable[[], object]) -> tuple[str, list[NotPublished]]:
    with pytest.raises(PublishError) as caught:
        ends(call)
    return str(caught.value), list(caught.value.result.failed)


def test_an_address_that_accepts_and_never_answers_ends_a_publish(
    topic: Callable[..., Any], silent: Silent, transport: str
) -> None:
    with Publisher(topic(silent.url, transport), source="/t", timeout=SHORT) as made:
        text, (failed,) = failures(lambda: made.publish(Noted(number=1), id="mine"))
    assert (failed.id, failed.code, failed.unknown) == ("mine", "Timeout", True)
    assert "1 of 1 events were not accepted (1 of them may have been)" in text
    assert f"topic {ARN} in us-east-1 at {silent.url}" in text
    assert "given up after 1 attempt in 0.3 s" in text
    assert "MESSAGING_PUBLISH_TIMEOUT" in text


@pytest.mark.parametrize("silent", [False], indirect=True)
def test_a_topic_by_name_whose_account_nobody_tells_ends_a_publish_too(
    topic: Callable[..., Any], silent: Silent, transport: str
) -> None:
    with Publisher(topic(silent.url, transport, "alunos"), source="/t", timeout=SHORT) as made:
        text, (failed,) = failures(lambda: made.publish(Noted(number=1)))
    assert (failed.code, failed.unknown) == ("Timeout", False)
    assert "cannot ask STS for the account" in text
    assert silent.url in text


@pytest.mark.parametrize("silent", [False], indirect=True)
@pytest.mark.parametrize("name", [ARN, "alunos"])
def test_many_end_as_well_and_each_event_is_accounted_for(
    topic: Callable[..., Any], silent: Silent, transport: str, name: str
) -> None:
    with Publisher(topic(silent.url, transport, name), source="/t", timeout=SHORT) as made:
        _, failed = failures(lambda: made.publish_many(Noted(number=n) for n in range(500)))
    assert [one.index for one in failed] == list(range(len(failed)))
    assert 0 < len(failed) < 500
    assert failed[0].unknown == (name == ARN)


@pytest.mark.parametrize("silent", [False], indirect=True)
def test_the_setting_and_the_call_say_how_long(
    topic: Callable[..., Any], silent: Silent, transport: str
) -> None:
    with Publisher(topic(silent.url, transport, publish_timeout=SHORT), source="/t") as made:
        assert "in 0.3 s:" in failures(lambda: made.publish(Noted(number=1)))[0]
        text, _ = failures(lambda: made.publish(Noted(number=1), timeout=0.1))
        assert "in 0.1 s:" in text


@pytest.mark.parametrize("silent", [False], indirect=True)
def test_a_buffer_tells_every_future_and_closes(
    topic: Callable[..., Any], silent: Silent, transport: str
) -> None:
    made = Publisher(topic(silent.url, transport), source="/t", timeout=SHORT)
    buffered = made.buffered(linger=0, on_failure=lambda _: None)
    pending = [buffered.publish(Noted(number=n)) for n in range(100)]
    ends(buffered.close)
    errors = [one.exception(0) for one in pending]
    assert all(isinstance(one, PublishError) for one in errors)


def test_a_topic_that_always_says_later_is_given_up_and_nothing_is_in_doubt(
    topic: Callable[..., Any], answers: Answers, transport: str
) -> None:
    answers.say["PublishBatch"] = [
        lambda ids, xml: batch({"Failed": [refused("0")], "Successful": [taken("1")]}, xml)
    ]
    made = Publisher(
        topic(answers.url, transport),
        source="/t",
        timeout=30,
        max_attempts=10_000,
        clock=FakeClock(),
    )
    with made:
        text, (failed,) = failures(lambda: made.publish(Noted(number=1)))
    assert (failed.code, failed.unknown) == ("Timeout", False)
    assert "InternalError" in text
    assert ARN in text


def test_an_answer_of_5xx_leaves_it_open_whether_it_was_taken(
    topic: Callable[..., Any], answers: Answers, transport: str
) -> None:
    answers.say["PublishBatch"] = [lambda ids, xml: http(b"", 503)]
    made = Publisher(
        topic(answers.url, transport),
        source="/t",
        timeout=30,
        max_attempts=10_000,
        clock=FakeClock(),
    )
    _, (failed,) = failures(lambda: made.publish(Noted(number=1)))
    assert (failed.code, failed.unknown) == ("Timeout", True)


def test_a_run_that_has_its_own_time_ends_with_the_rest_unsent() -> None:
    slow = ScriptedTopic()
    made = Publisher(slow, source="/t", in_flight=1)

    def events() -> Iterator[Noted]:
        for number in range(100):
            if number == 25:
                time.sleep(2 * SHORT)
            yield Noted(number=number)

    text, failed = failures(lambda: made.publish_many(events(), timeout=SHORT))
    assert len(slow.accepted) == 20
    assert [one.index for one in failed] == list(range(20, 30))
    assert not any(one.unknown for one in failed)
    assert "the run was not done in its 0.3 s" in text


@pytest.mark.parametrize("silent", [False], indirect=True)
def test_credentials_that_do_not_come_end_a_publish(
    topic: Callable[..., Any], silent: Silent, transport: str
) -> None:
    never = threading.Event()

    def refresh() -> dict[str, str]:
        never.wait(60)
        raise OSError

    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    inner: Any = botocore.session.get_session()
    inner._credentials = RefreshableCredentials("a", "b", "c", past, refresh, "a test")
    session = boto3.Session(botocore_session=inner, region_name="us-east-1")
    made = Publisher(topic(silent.url, transport, session=session), source="/t", timeout=SHORT)
    text, (failed,) = failures(lambda: made.publish(Noted(number=1)))
    never.set()
    assert failed.code == "Timeout"
    assert ARN in text


@pytest.mark.parametrize("silent", [False], indirect=True)
def test_an_upload_that_nobody_takes_ends_a_publish_and_nothing_was_sent(silent: Silent) -> None:
    settings = Settings(endpoint_url=silent.url, region="us-east-1")
    store = S3BlobStore("escola", settings=settings, session=new_session())
    accepted = ScriptedTopic()
    made = Publisher(accepted, source="/t", codec=ClaimCheck(store, threshold=0), timeout=SHORT)
    with pytest.raises(TransportError, match="cannot write object"):
        ends(lambda: made.publish(Noted(number=1)))
    with pytest.raises(PublishError, match="stopped after 0 events: cannot write object"):
        ends(lambda: made.publish_many([Noted(number=1)]))
    assert accepted.requests == []


@pytest.mark.parametrize("silent", [False], indirect=True)
def test_a_password_in_the_endpoint_is_not_told(topic: Callable[..., Any], silent: Silent) -> None:
    url = silent.url.replace("http://", "http://user:s3cr3t@")
    made = Publisher(topic(url, "boto3"), source="/t", timeout=SHORT)
    text, (failed,) = failures(lambda: made.publish(Noted(number=1)))
    assert "s3cr3t" not in text + failed.reason


# -- calls that cannot be told a limit


def within(seconds: float, call: Callable[[], Made]) -> Made:
    before = CURRENT.set(Deadline(seconds, SYSTEM_CLOCK))
    try:
        return call()
    finally:
        CURRENT.reset(before)


SEEN: ContextVar[str] = ContextVar("seen", default="")


def test_a_bounded_call_sees_its_callers_context_and_raises_what_it_raises() -> None:
    bounded = Bounded()
    SEEN.set("mine")
    assert within(10, lambda: bounded(SEEN.get)) == "mine"
    assert bounded(threading.get_ident) == threading.get_ident(), "a thread without a limit"
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: bounded(lambda: 1 // 0))


def test_what_comes_too_late_is_let_go_of() -> None:
    bounded, go, forgotten = Bounded(), threading.Event(), list[str]()
    done = threading.Event()

    def late() -> str:
        go.wait(10)
        return "a connection"

    def forget(said: str) -> None:
        forgotten.append(said)
        done.set()

    with pytest.raises(TimeoutError):
        within(0.02, lambda: bounded(late, forget=forget))
    assert forgotten == []
    go.set()
    assert done.wait(10)
    assert forgotten == ["a connection"]


def test_calls_left_behind_do_not_fill_the_process_with_threads() -> None:
    bounded, go = Bounded(), threading.Event()
    before = threading.active_count()
    for _ in range(MOST + 20):
        with pytest.raises(TimeoutError):
            within(0.001, lambda: bounded(lambda: go.wait(10)))
    assert threading.active_count() <= before + MOST
    go.set()
    end = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert within(10, lambda: bounded(lambda: "again")) == "again"
