"""Publishing from FastAPI and Starlette: a lifespan, dependencies, and answers for errors.

publishing = PublisherLifespan(source="/cadastro")
app = FastAPI(lifespan=publishing.lifespan)
publishing.handle_errors(app)

@app.post("/alunos", status_code=201)
async def cadastrar(
    aluno: NovoAluno, publisher: Annotated[Publisher, Depends(publishing.publisher)]
) -> None:
    await publisher.publish_async(AlunoCadastrado(aluno_id=aluno.id, nome=aluno.nome))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from messaging.connecting import connect
from messaging.errors import ConfigurationError, MissingExtra
from messaging.problems import MEDIA_TYPE, PUBLISHING_ERRORS, problem_of
from messaging.publishing.buffered import BufferedPublisher
from messaging.publishing.publisher import Publisher

try:
    from starlette.responses import Response
except ModuleNotFoundError as error:
    raise MissingExtra("messaging.fastapi needs Starlette", "fastapi") from error

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from messaging.transport import Broker

__all__ = ["PublisherLifespan"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


class PublisherLifespan:
    """One application's publisher, created when the application starts and closed when it ends.

    Each process of a server has its own. `publisher` and `buffered` are dependencies, and return
    the same object for every request.

    Args:
        source: the publisher's CloudEvents source, such as "/cadastro".
        broker: a function that returns the broker, called at the start; by default `connect`, which
            reads the environment. A test may pass `lambda: MemoryBroker(...)`. The broker is closed
            at the end.
        lifespan: the application's own lifespan, which runs inside this one, so it may publish.
        **options: other arguments of `Publisher`.

    Example:
        ```python
        from typing import Annotated

        from fastapi import Depends, FastAPI
        from messaging.fastapi import PublisherLifespan

        publishing = PublisherLifespan(source="/cadastro", broker=lambda: MemoryBroker(topology))
        app = FastAPI(lifespan=publishing.lifespan)
        publishing.handle_errors(app)


        @app.post("/alunos", status_code=201)
        async def enrol(publisher: Annotated[Publisher, Depends(publishing.publisher)]) -> None:
            await publisher.publish_async(ana)
        ```
    """

    def __init__(
        self,
        *,
        source: str,
        broker: Callable[[], Broker] | None = None,
        lifespan: Lifespan | None = None,
        **options: Any,
    ) -> None:
        self._source = source
        self._make_broker = broker or connect
        self._inner = lifespan
        self._options = options
        self._started: tuple[Publisher, BufferedPublisher] | None = None

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[Mapping[str, Any]]:
        """For `FastAPI(lifespan=...)`. Buffered events are sent before it ends.

        Invalid settings are reported at the start.

        Args:
            app: the application.

        Raises:
            SettingsError: if the environment's settings are invalid.
            MissingExtra: if they name RabbitMQ, and its client is not installed.
        """
        async with AsyncExitStack() as stack:
            # In a thread: it may read files and look up credentials over the network.
            broker = await asyncio.to_thread(self._make_broker)
            stack.push_async_callback(asyncio.to_thread, broker.close)
            publisher = Publisher(broker.topic(), source=self._source, **self._options)
            stack.push_async_callback(asyncio.to_thread, publisher.close)
            self._started = publisher, await stack.enter_async_context(publisher.buffered())
            try:
                inner = self._inner(app) if self._inner is not None else nullcontext()
                state: Mapping[str, Any] | None = await stack.enter_async_context(inner)
                yield state or {}
            finally:
                self._started = None

    async def publisher(self) -> Publisher:
        """A dependency: `Annotated[Publisher, Depends(publishing.publisher)]`.

        In an `async def`, call its `publish_async`; in a `def`, which runs in a thread, `publish`.

        Raises:
            ConfigurationError: if the application did not start with `lifespan`.
        """
        return self._parts()[0]

    async def buffered(self) -> BufferedPublisher:
        """A dependency for busy routes: `await buffered.publish(event)` shares requests.

        Raises:
            ConfigurationError: if the application did not start with `lifespan`.
        """
        return self._parts()[1]

    def handle_errors(self, app: Starlette) -> None:
        """Answer 422 for an event that cannot be sent, and 503 if it was not accepted.

        Args:
            app: the application.
        """
        for kind in PUBLISHING_ERRORS:
            app.add_exception_handler(kind, _answer)

    def _parts(self) -> tuple[Publisher, BufferedPublisher]:
        if self._started is None:
            raise ConfigurationError(
                "the publisher is made when the application starts: pass FastAPI(lifespan="
                "publishing.lifespan), and in a test use `with TestClient(app) as client`"
            )
        return self._started


async def _answer(request: Request, error: Any) -> Response:
    problem = problem_of(error)
    return Response(problem.body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)
