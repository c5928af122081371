"""Connections: kept, closed under one's feet, answers in all the ways that HTTP has."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from messaging.aws.fast import pool as pool_module
from messaging.aws.fast.pool import FRESH, Address, ConnectionPool
from messaging.clock import SYSTEM_CLOCK
from messaging.deadline import Deadline, within
from messaging.testing import FakeClock
from tests.aws.fast.conftest import Scripted, answer, reset

REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
ONE, TWO = answer(b"one"), answer(b"two")


def line(server: Any, *, keep: int = 5, read_timeout: float = 5) -> closing[ConnectionPool]:
    address = Address(server.url, "127.0.0.1", server.port, None, 5, read_timeout)
    return closing(ConnectionPool(address, keep=keep))


def test_a_connection_is_kept_and_used_again(scripted) -> None:
    server = scripted([ONE, TWO])
    with line(server) as to:
        assert to.exchange(REQUEST, repeatable=False).body == b"one"
        assert to.exchange(REQUEST, repeatable=False).body == b"two"
    assert server.asked() == [0, 0]


def test_a_publish_works_where_select_has_no_poll(scripted, monkeypatch) -> None:
    """As under eventlet's monkey patching, and on Windows."""
    monkeypatch.delattr("select.poll")
    server = scripted([ONE, TWO], [ONE])
    with line(server) as to:
        assert to.exchange(REQUEST, repeatable=False).body == b"one"
        assert to.exchange(REQUEST, repeatable=False).body == b"two"
        assert server.ended.acquire(timeout=10)  # and what the server has closed is found out
        assert to.exchange(REQUEST, repeatable=False).body == b"one"
    assert server.asked() == [0, 0, 1]


@pytest.mark.parametrize("lines", [("Connection: close",), ("connection: Close",)])
def test_a_connection_that_is_to_be_closed_is_not_kept(scripted, lines) -> None:
    server = scripted([answer(b"one", 200, *lines), TWO], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=False)
        assert to.exchange(REQUEST, repeatable=False).body == b"two"
    assert server.asked() == [0, 1]


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_lines_that_end_in_another_way_are_read_by_the_book(scripted, end) -> None:
    """Else the length would be believed where the chunks count, and the rest be the next answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a{end}Transfer-Encoding: chunked\r\n\r\n"
    chunks = (head.encode() + b"2\r\n{}", b"\r\n0\r\n\r\n")
    server = scripted([chunks], [TWO])
    with line(server) as to:
        assert to.exchange(REQUEST, repeatable=True).body == b"{}"
        assert len(to._idle) == 0
        assert to.exchange(REQUEST, repeatable=True).body == b"two"


def test_more_than_the_answer_is_dropped_with_its_connection(scripted) -> None:
    server = scripted([ONE + TWO, TWO], [answer(b"three")])
    with line(server) as to:
        assert to.exchange(REQUEST, repeatable=False).body == b"one"
        assert to.exchange(REQUEST, repeatable=False).body == b"three"


def test_a_connection_that_the_server_closed_meanwhile_is_not_used(scripted) -> None:
    server = scripted([ONE], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=False)
        assert server.ended.acquire(timeout=5)
        assert to.exchange(REQUEST, repeatable=False).body == b"two"
    assert server.asked() == [0, 1]


@pytest.mark.parametrize("end", [None, reset])
def test_a_kept_connection_that_ends_without_an_answer_is_repeated_if_it_may(scripted, end) -> None:
    server = scripted([ONE, end], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        assert to.exchange(REQUEST, repeatable=True).body == b"two"
    assert server.asked() == [0, 0, 1]


@pytest.mark.parametrize("end", [None, reset])
def test_what_may_not_be_repeated_is_an_error_then(scripted, end) -> None:
    server = scripted([ONE, end], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=False)
        with pytest.raises(ConnectionClosedError):
            to.exchange(REQUEST, repeatable=False)
    assert server.asked() == [0, 0]


def test_a_request_that_could_not_be_sent_whole_is_sent_again(scripted) -> None:
    server = BreaksOff()
    large = b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)
    try:
        with line(server) as to:
            assert to.exchange(REQUEST, repeatable=False).body == b"one"
            assert to.exchange(large, repeatable=False).body == b"two"
    finally:
        server.close()
    assert server.whole == [len(REQUEST), len(large)]


class BreaksOff:
    """Answers; resets its first connection in the middle of the second request on it."""

    def __init__(self) -> None:
        self.whole: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        first, _ = self._listener.accept()
        self.whole.append(len(first.recv(65_536)))
        first.sendall(ONE)
        first.recv(10)
        reset(first)
        second, _ = self._listener.accept()
        total = 0
        while total < 50_000_000:
            total += len(second.recv(1_000_000))
        self.whole.append(total)
        second.sendall(TWO)
        second.close()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_new_connection_without_an_answer_is_an_error(scripted, repeatable) -> None:
    server = scripted([None], [ONE])
    with line(server) as to, pytest.raises(ConnectionClosedError):
        to.exchange(REQUEST, repeatable=repeatable)
    assert server.asked() == [0]


@pytest.mark.parametrize(
    "begun",
    [
        ONE[:5],
        ONE[:20],
        ONE[:-1],
        answer(b"x" * 100_000)[:-1],
        b"garbage\r\n\r\n",
        b"\0\0",
        b"x" * 70_000 + ONE,
    ],
)
def test_an_answer_that_breaks_off_is_an_error_and_never_repeated(scripted, begun) -> None:
    server = scripted([ONE, begun], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        with pytest.raises(ConnectionClosedError):
            to.exchange(REQUEST, repeatable=True)
    assert server.asked() == [0, 0]


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\none\r\n5;name=x\r\n two \r\n0\r\nTrailer: t\r\n\r\n"
)


@pytest.mark.parametrize(
    ("told", "status", "body"),
    [
        (CHUNKED, 200, b"one two "),
        (tuple(CHUNKED[i : i + 7] for i in range(0, len(CHUNKED), 7)), 200, b"one two "),
        (tuple(ONE[i : i + 1] for i in range(len(ONE))), 200, b"one"),
        ((ONE[:1], ONE[1:]), 200, b"one"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ONE, 200, b"one"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (answer(b"", 500), 500, b""),
        (answer(b"no", 503), 503, b"no"),
        (b"HTTP/1.1 200\r\nCONTENT-length:3\r\n\r\none", 200, b"one"),
        (answer(b"x" * 300_000), 200, b"x" * 300_000),
    ],
)
def test_every_way_to_answer_is_read(scripted, told, status, body) -> None:
    server = scripted([told], [TWO])
    with line(server) as to:
        reply = to.exchange(REQUEST, repeatable=False)
        assert (reply.status, reply.body) == (status, body)
        server.ended.acquire(timeout=5)
        assert to.exchange(REQUEST, repeatable=False).body == b"two"


def test_the_header_lines_are_those_between_the_first_line_and_the_body(scripted) -> None:
    server = scripted([answer(b"one", 200, "X: y")])
    with line(server) as to:
        head = to.exchange(REQUEST, repeatable=True).head
        assert head == b"Content-Length: 3\r\nX: y\r\n"


def test_a_reset_in_the_middle_of_an_answer_is_an_error_and_never_repeated(scripted) -> None:
    def break_off(connection: socket.socket) -> None:
        connection.sendall(answer(b"x" * 100_000)[:90_000])
        reset(connection)

    server = scripted([ONE, break_off], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        with pytest.raises(ConnectionClosedError):
            to.exchange(REQUEST, repeatable=True)
    assert server.asked() == [0, 0]


def test_an_answer_that_is_printed_shows_no_message(scripted) -> None:
    server = scripted([answer(b"Ana")])
    with line(server) as to:
        assert repr(to.exchange(REQUEST, repeatable=True)) == "Reply(status=200, 3 bytes)"


def test_header_lines_come_with_the_answer(scripted) -> None:
    server = scripted([answer(b"", 400, "x-amzn-query-error: Some.Code;Sender"), CHUNKED])
    with line(server) as to:
        assert (
            b"x-amzn-query-error: Some.Code;Sender\r\n"
            in to.exchange(REQUEST, repeatable=True).head
        )
        assert b"Transfer-Encoding: chunked\r\n" in to.exchange(REQUEST, repeatable=True).head


def test_a_slow_answer_is_waited_for_and_a_missing_one_is_an_error(scripted) -> None:
    held = threading.Event()
    server = scripted([(ONE[:9], ONE[9:30], ONE[30:]), lambda _: held.wait(5)], [TWO])
    with line(server, read_timeout=0.3) as to:
        assert to.exchange(REQUEST, repeatable=True).body == b"one"
        with pytest.raises(ReadTimeoutError):
            to.exchange(REQUEST, repeatable=True)
        held.set()
        # The late answer must not be taken for this one's.
        assert to.exchange(REQUEST, repeatable=True).body == b"two"
    assert server.asked() == [0, 0, 1]


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = Address("http://nobody", "127.0.0.1", port, None, 5, 5)
    with closing(ConnectionPool(address, keep=1)) as to, pytest.raises(EndpointConnectionError):
        to.exchange(REQUEST, repeatable=True)


def test_nobody_accepts_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        full = [socket.socket() for _ in range(4)]
        for one in full:  # the backlog is full: a further connection waits
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        address = Address("http://busy", "127.0.0.1", port, None, 0.2, 5)
        with closing(ConnectionPool(address, keep=1)) as to, pytest.raises(ConnectTimeoutError):
            to.exchange(REQUEST, repeatable=True)
        for one in full:
            one.close()


def test_an_interrupt_spoils_the_connection(scripted, monkeypatch) -> None:
    class Interrupt(BaseException):
        """A signal's, between a request and its answer."""

    def interrupted(_: socket.socket) -> None:
        raise Interrupt

    server = scripted([ONE, TWO], [answer(b"three")])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        with monkeypatch.context() as patched:
            patched.setattr(pool_module, "read", interrupted)
            with pytest.raises(Interrupt):
                to.exchange(REQUEST, repeatable=True)
        assert to.exchange(REQUEST, repeatable=True).body == b"three"


def test_no_more_is_kept_than_was_said_and_nothing_after_closing(scripted) -> None:
    together = threading.Barrier(3, timeout=5)

    def meet(sock: socket.socket) -> None:
        together.wait()
        sock.sendall(ONE)

    server = scripted(*[[meet, TWO]] * 3)
    with line(server, keep=2) as to, ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(to.exchange, REQUEST, repeatable=False) for _ in range(3)]
        assert [one.result().body for one in replies] == [b"one"] * 3
        assert len(to._idle) == 2
        to.close()
        assert len(to._idle) == 0


def test_threads_never_get_each_others_answers() -> None:
    server = Echo()
    # All eight are kept: with fewer, a ninth would be opened, and nobody accepts it.
    with line(server, keep=8) as to, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> bool:
            body = b"%d" % number
            request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            return to.exchange(request, repeatable=False).body == body

        assert all(pool.map(ask, range(400)))
    server.close()


class Echo(Scripted):
    """Answers each request with its own body, on as many connections as come."""

    def __init__(self) -> None:
        super().__init__(*[[self._echo] * 400] * 8)

    def _echo(self, sock: socket.socket) -> None:
        number = next(n for n, one in enumerate(self._open) if one is sock)
        mine = [one for at, one in self.requests if at == number][-1]
        sock.sendall(answer(mine.partition(b"\r\n\r\n")[2]))


# -- a kept connection


def age(to: ConnectionPool, seconds: float) -> None:
    """The kept connections have been idle for so long."""
    for one in to._idle:
        one.since -= seconds


def test_what_may_be_sent_again_is_sent_without_a_look_on_a_connection_just_used(scripted) -> None:
    server = scripted([ONE], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        [kept] = to._idle
        assert server.ended.acquire(timeout=5)
        age(to, 0.5)
        assert to._kept(FRESH) is kept, "the server has closed it, and nobody has looked"
        to._idle.append(kept)
        assert to._kept(0.0) is None, "what may not be sent again is never sent without a look"


def test_a_connection_that_was_idle_for_a_second_is_looked_at(scripted) -> None:
    server = scripted([ONE], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        assert server.ended.acquire(timeout=5)
        age(to, 1.0)
        assert to._kept(FRESH) is None
        assert to.exchange(REQUEST, repeatable=True).body == b"two"


def test_small_requests_go_at_once_and_a_dead_peer_is_found_out(scripted) -> None:
    server = scripted([ONE])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        [kept] = to._idle
        assert kept.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert kept.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_new_connection_that_breaks_off_while_it_is_sent_to_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def break_off() -> None:
            first, _ = listener.accept()
            first.recv(10)
            reset(first)

        thread = threading.Thread(target=break_off)
        thread.start()
        address = Address("http://h", "127.0.0.1", listener.getsockname()[1], None, 5, 5)
        with closing(ConnectionPool(address, keep=1)) as to, pytest.raises(ConnectionClosedError):
            to.exchange(bytes(50_000_000), repeatable=True)
        thread.join()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_speaks_no_tls_is_told_as_boto3_does_and_nothing_is_left_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            first, _ = listener.accept()
            first.recv(10)
            first.sendall(ONE)
            first.close()

        thread = threading.Thread(target=speak)
        thread.start()
        port = listener.getsockname()[1]
        address = Address("https://h", "127.0.0.1", port, ssl.create_default_context(), 5, 5)
        with closing(ConnectionPool(address, keep=1)) as to, pytest.raises(SSLError):
            to.exchange(REQUEST, repeatable=True)
        thread.join()
        gc.collect()


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_connection_that_select_cannot_look_at_is_not_used_again(
    scripted, monkeypatch, error
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.delattr("select.poll")
    monkeypatch.setattr("select.select", refuse)
    server = scripted([ONE, TWO], [ONE])
    with line(server) as to:
        assert to.exchange(REQUEST, repeatable=False).body == b"one"
        assert to.exchange(REQUEST, repeatable=False).body == b"one"
    assert server.asked() == [0, 1]


# -- a deadline


def by(seconds: float, call: Callable[[], Any]) -> Any:
    return within(Deadline(seconds, SYSTEM_CLOCK), call)


def test_an_answer_is_waited_for_no_longer_than_the_deadline_says(scripted) -> None:
    held = threading.Event()
    server = scripted([lambda _: held.wait(10)])
    with line(server, read_timeout=60) as to, pytest.raises(ReadTimeoutError):
        by(0.1, lambda: to.exchange(REQUEST, repeatable=True))
    held.set()


def test_an_answer_that_comes_byte_by_byte_does_not_outlive_the_deadline(scripted) -> None:
    drops = tuple(b"HTTP/1.1 200 OK\r\n" + b"X-Drop: 1\r\n" * 2000)
    server = scripted([tuple(bytes([one]) for one in drops)])
    with line(server, read_timeout=60) as to, pytest.raises(ReadTimeoutError):
        by(0.2, lambda: to.exchange(REQUEST, repeatable=True))


def test_chunks_that_come_one_by_one_do_not_outlive_the_deadline_either(scripted) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = scripted([(head, *[b"1\r\nx\r\n"] * 2000)])
    with line(server, read_timeout=60) as to, pytest.raises(ReadTimeoutError):
        by(0.2, lambda: to.exchange(REQUEST, repeatable=True))


def test_a_request_whose_time_is_over_is_not_sent(scripted) -> None:
    server = scripted([ONE, TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        with pytest.raises(ReadTimeoutError):
            by(0, lambda: to.exchange(REQUEST, repeatable=True))
    assert len(server.requests) == 1


def test_an_answer_in_chunks_is_read_under_a_deadline_too(scripted) -> None:
    server = scripted([tuple(CHUNKED[i : i + 7] for i in range(0, len(CHUNKED), 7))])
    with line(server) as to:
        assert by(5, lambda: to.exchange(REQUEST, repeatable=True)).body == b"one two "


def test_an_interrupt_while_a_request_is_sent_spoils_the_connection(scripted) -> None:
    class Interrupt(BaseException):
        """A signal's."""

    class Interrupting(Deadline):
        def left(self) -> float:
            raise Interrupt

    server = scripted([ONE], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=True)
        [kept] = to._idle
        with pytest.raises(Interrupt):
            within(Interrupting(5, SYSTEM_CLOCK), lambda: to.exchange(REQUEST, repeatable=True))
        assert kept.socket.fileno() < 0, "it is closed"
        assert to.exchange(REQUEST, repeatable=True).body == b"two"


def test_no_connection_is_opened_when_the_time_is_over(scripted) -> None:
    server = scripted([ONE])
    with line(server) as to, pytest.raises(ConnectTimeoutError):
        by(0, lambda: to.exchange(REQUEST, repeatable=True))


def test_the_deadline_of_one_request_does_not_bind_the_next(scripted) -> None:
    server = scripted([ONE, (TWO[:20], TWO[20:])])
    with line(server) as to:
        by(0.4, lambda: to.exchange(REQUEST, repeatable=True))
        [kept] = to._idle
        assert kept.socket.gettimeout() < 0.5
        begun = to.send(REQUEST, repeatable=True)
        assert kept.socket.gettimeout() == 5
        assert to.answer(begun).body == b"two"


def test_the_read_timeout_holds_under_a_later_deadline(scripted) -> None:
    server = scripted([ONE, TWO])
    with line(server, read_timeout=2) as to:
        by(60, lambda: to.exchange(REQUEST, repeatable=True))
        [kept] = to._idle
        assert kept.socket.gettimeout() == kept.timeout == 2


@pytest.mark.parametrize(("left", "told"), [(4.95, False), (4.0, True), (6.0, True)])
def test_the_socket_is_told_of_a_limit_that_is_another(scripted, left, told) -> None:
    server = scripted([ONE])
    with line(server, read_timeout=60) as to:
        to.exchange(REQUEST, repeatable=True)
        [kept] = to._idle
        kept.limit(Deadline(5.0, FakeClock()))
        assert kept.timeout == 5.0
        kept.limit(Deadline(left, FakeClock()))
        assert kept.timeout == kept.socket.gettimeout() == (left if told else 5.0)


# -- in two halves


def test_requests_begun_together_go_on_connections_of_their_own(scripted) -> None:
    server = scripted([ONE, answer(b"three")], [TWO])
    with line(server) as to:
        first, second = (to.send(REQUEST, repeatable=False) for _ in range(2))
        assert to.answer(second).body in {b"one", b"two"}
        assert to.answer(first).body in {b"one", b"two"}
        assert len(to._idle) == 2
        to.exchange(REQUEST, repeatable=False)
    assert server.accepted == 2


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_request_given_up_half_way_closes_its_connection(scripted) -> None:
    server = scripted([ONE, TWO], [answer(b"three")])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=False)
        to.drop(to.send(REQUEST, repeatable=False))
        assert len(to._idle) == 0
        gc.collect()  # a socket that was forgotten would warn here
        assert to.exchange(REQUEST, repeatable=False).body == b"three"
    assert server.accepted == 2, "a connection with an answer to come was used again"


def test_a_request_under_way_when_its_line_closes_is_finished_and_its_connection_not_kept(
    scripted,
) -> None:
    server = scripted([ONE, TWO])
    with line(server) as to:
        begun = to.send(REQUEST, repeatable=False)
        to.close()
        assert to.answer(begun).body == b"one"
        assert len(to._idle) == 0


def test_a_publish_whose_kept_connection_ends_after_it_was_sent_is_not_sent_again(scripted) -> None:
    server = scripted([ONE, None], [TWO])
    with line(server) as to:
        to.exchange(REQUEST, repeatable=False)
        begun = to.send(REQUEST, repeatable=False)
        with pytest.raises(ConnectionClosedError):
            to.answer(begun)
    assert server.asked() == [0, 0]
