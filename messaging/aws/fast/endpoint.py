"""Where boto3 would send a request: endpoint, region, certificates, credentials and hooks.

None of that is determined a second time here. Any boto3 configuration that this transport does not
support (a proxy, a client certificate, another signature) raises `Unsupported`, and boto3 does the
work itself.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Generator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, parse_qs, urlsplit

from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import NoCredentialsError
from botocore.handlers import add_recursion_detection_header
from botocore.httpsession import get_cert_path

from messaging.aws.bounded import Bounded
from messaging.aws.fast.pool import Address, ConnectionPool, Reply, SentRequest
from messaging.aws.fast.signing import Signer
from messaging.clock import SYSTEM_CLOCK
from messaging.settings import in_lambda

if TYPE_CHECKING:
    import boto3

__all__ = ["EndpointOperation", "Endpoint", "Unsupported"]

_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_~-]+)*/?")
_ALGORITHM = "AWS4-HMAC-SHA256"


class Unsupported(Exception):
    """boto3 is configured for something that this transport cannot do; the text says what."""


class Endpoint:
    """The endpoint of one service, as one of boto3's clients would use it. The constructor makes no
    request.

    client   its configuration, endpoint rules and event hooks are followed.
    session  its credentials sign; read for each request, since they may expire.
    sample   an operation of the service with parameters, for botocore to resolve the endpoint.
    bounded  enforces a request's time limit on calls that have none; without it, only the client's
             own limits apply.

    Raises `Unsupported`, and botocore's errors if there are no credentials.
    """

    def __init__(
        self,
        client: Any,
        session: boto3.Session,
        *,
        sample: tuple[str, Mapping[str, Any]],
        bounded: Bounded | None = None,
    ) -> None:
        self._bounded = bounded or Bounded()
        self.client = client
        self._session = session
        self._credentials = session.get_credentials()
        self._emit = client.meta.events.emit
        where, self.region, self.service = _shown(client, *sample)
        self.host, self.path = where.netloc, where.path or "/"
        self.url = where.geturl()
        config = client.meta.config
        self.agent = f"{config.user_agent} {config.user_agent_extra or ''}".rstrip()
        self.hook = f"before-send.{client.meta.service_model.service_id.hyphenize()}"
        self._http = _http_of(client, self.url)
        address = Address(
            self.url,
            str(where.hostname),
            where.port or (443 if where.scheme == "https" else 80),
            _context(self._http) if where.scheme == "https" else None,
            config.connect_timeout,
            config.read_timeout,
        )
        self._pool = ConnectionPool(
            address, keep=config.max_pool_connections, bounded=self._bounded
        )

    def exchange(self, operation: EndpointOperation, body: bytes) -> Reply:
        """Make one request and return its response, whatever its status."""
        sent = self.send(operation, body)
        return self._pool.answer(sent) if isinstance(sent, SentRequest) else sent

    def send(self, operation: EndpointOperation, body: bytes) -> SentRequest | Reply:
        """The first half of an exchange. Returns the response itself, if a hook provided one."""
        lines = operation.headers(self._frozen(), body)
        prepared = _Prepared(self.url, lines, body)
        called = self._emit(operation.hook, request=prepared)
        if called:
            for _, response in called:
                if response is not None:  # moto's decorators and other stubs respond here
                    return _reply(response)
            if prepared.changed:
                return _reply(self._bounded(lambda: self._http.send(prepared)))
        head = f"{operation.line}{lines}Content-Length: {len(body)}\r\n\r\n"
        return self._pool.send(head.encode("latin-1") + body, repeatable=operation.repeatable)

    def steps(self, sent: SentRequest | Reply) -> Generator[int, None, Reply]:
        """The second half for a caller that waits on the socket: yields its number, and continues
        when it is readable. It yields again if the request had to be sent again. An answer that is
        there is returned at once."""
        while isinstance(sent, SentRequest):
            try:
                yield sent.connection.socket.fileno()
            except BaseException:  # closed, or forgotten: the response is not wanted
                self._pool.drop(sent)
                raise
            sent = self._pool.hear(sent)
        return sent

    def _frozen(self) -> Any:
        # Like boto3's clients, which get credentials from the session once, and refresh them, as
        # they may expire, before each request. If there are none, the session is asked again.
        if self._credentials is None:
            self._credentials = self._bounded(self._session.get_credentials)
            if self._credentials is None:
                raise NoCredentialsError
        stale = getattr(self._credentials, "refresh_needed", None)
        if stale is not None and stale():  # this makes a request, which may be slow
            return self._bounded(self._credentials.get_frozen_credentials)
        return self._credentials.get_frozen_credentials()

    def close(self) -> None:
        """Close the connections. Requests in flight are finished."""
        self._pool.close()


class EndpointOperation:
    """One operation of an endpoint's service: everything that is the same in each of its requests.

    headers     Content-Type, and other headers that identify the operation.
    repeatable  whether an unanswered request may be sent again.
    """

    def __init__(
        self, endpoint: Endpoint, name: str, *, headers: Mapping[str, str], repeatable: bool
    ) -> None:
        self.name = name
        self.repeatable = repeatable
        self.hook = f"{endpoint.hook}.{name}"
        self.line = f"POST {endpoint.path} HTTP/1.1\r\n"
        self._in_lambda = in_lambda()
        self._digest = (b"", sha256(b"").hexdigest())
        signed = {"Host": endpoint.host, **headers}
        sent = {**signed, "User-Agent": endpoint.agent}
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._sign = Signer(
            region=endpoint.region, service=endpoint.service, path=endpoint.path, headers=signed
        )

    def headers(self, credentials: Any, body: bytes) -> str:
        """The header lines of a request, signed at this moment."""
        of, digest = self._digest
        if of is not body:  # a receive has the same body each time
            digest = sha256(body).hexdigest()
            if self.repeatable:
                self._digest = body, digest
        signature = self._sign(credentials, SYSTEM_CLOCK.now(), digest)
        return f"{self._fixed}{_traced() if self._in_lambda else ''}{signature}"


class _Prepared(AWSPreparedRequest):
    """A request as botocore's `before-send` handlers expect it, built only if one uses it."""

    method = "POST"
    stream_output = False
    context = None

    def __init__(self, url: str, lines: str, body: bytes) -> None:
        self._lines = lines
        self._url = self.url = url
        self._body = self.body = body

    @cached_property
    def headers(self) -> HeadersDict:  # type: ignore[override]  # made at the first look
        pairs = (line.split(": ", 1) for line in self._lines.splitlines())
        return HeadersDict({name: value for name, value in pairs if name != "Host"})

    @property
    def changed(self) -> bool:
        """Whether a handler changed it."""
        if (self.url, self.body, self.method) != (self._url, self._body, "POST"):
            return True
        seen = self.__dict__.get("headers")
        if seen is None:
            return False
        fresh = _Prepared(self._url, self._lines, self._body).headers
        return {name: _text(seen[name]) for name in seen} != {name: fresh[name] for name in fresh}


def _traced() -> str:
    """The header that keeps a function from calling itself through a queue for ever."""
    more: dict[str, str] = {}
    add_recursion_detection_header({"headers": more})
    return "".join(f"{name}: {value}\r\n" for name, value in more.items())


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _reply(response: Any) -> Reply:
    head = "".join(f"{name}: {_text(value)}\r\n" for name, value in response.headers.items())
    return Reply(
        response.status_code, head.encode("latin-1", "replace"), response.content, keep=False
    )


def _shown(
    client: Any, operation: str, parameters: Mapping[str, Any]
) -> tuple[SplitResult, str, str]:
    """Where botocore sends requests, and the region and service it signs for.

    A presigned URL is its public way to show the result of endpoint rules, FIPS, dual stack,
    AWS_ENDPOINT_URL and so on.
    """
    config = client.meta.config
    if config.signature_version != "v4" or getattr(config, "auth_scheme_preference", None):
        raise Unsupported("another signature than Signature Version 4 is asked for")
    signed = urlsplit(client.generate_presigned_url(operation, Params=dict(parameters)))
    query = parse_qs(signed.query)
    if query.get("X-Amz-Algorithm") != [_ALGORITHM]:
        raise Unsupported("botocore signs for this endpoint in another way")
    if not _PLAIN_PATH.fullmatch(signed.path) or "@" in signed.netloc:
        raise Unsupported("the endpoint's URL is not a plain one")
    _, _, region, service, _ = query["X-Amz-Credential"][0].rsplit("/", 4)
    host, port = str(signed.hostname), signed.port
    host = f"[{host}]" if ":" in host else host
    if port is not None and (signed.scheme, port) not in {("http", 80), ("https", 443)}:
        host = f"{host}:{port}"
    return SplitResult(signed.scheme, host, signed.path or "/", "", ""), region, service


def _http_of(client: Any, url: str) -> Any:
    """botocore's own HTTP session of that client.

    Only it knows the effective configuration of certificates and proxies. The names are private: if
    they differ from those expected, boto3 has to do the work.
    """
    try:
        http = client._endpoint.http_session
        proxy, certificate = http._proxy_config.proxy_url_for(url), http._cert_file
        verified = http._verify
    except AttributeError:
        raise Unsupported("this version of botocore does not show how it connects") from None
    if proxy:
        raise Unsupported("a proxy is set")
    if certificate:
        raise Unsupported("a client certificate is set")
    if not verified:
        raise Unsupported("the verification of certificates is turned off")
    return http


def _context(http: Any) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cast("str", get_cert_path(http._verify)))
    except OSError as error:
        raise Unsupported(f"the CA bundle cannot be read: {type(error).__name__}") from None
