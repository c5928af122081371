"""Publishing from Flask: an extension with `init_app`, under every kind of server.

publishing = PublisherExtension(source="/cadastro")

def create_app():
    app = Flask(__name__)
    publishing.init_app(app)
    return app

@app.post("/alunos")
def cadastrar():
    publishing.publisher.publish(AlunoCadastrado(...))
    return "", 201
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from messaging.connecting import connect
from messaging.errors import ConfigurationError, MissingExtra
from messaging.problems import MEDIA_TYPE, PUBLISHING_ERRORS, problem_of
from messaging.publishing.buffered import BufferedPublisher
from messaging.publishing.publisher import Publisher

try:
    from flask import Flask, Response, current_app
except ModuleNotFoundError as error:
    raise MissingExtra("messaging.flask needs Flask", "flask") from error

if TYPE_CHECKING:
    from messaging.transport import Broker

__all__ = ["PublisherExtension"]

_NAME = "messaging"


class PublisherExtension:
    """The extension. It may serve several applications, each with its own publisher.

    It may be created before a server forks (gunicorn with `--preload`): the publishing process
    opens the connections, and a child's buffer starts empty.

    Args:
        app: the application, if it exists already; otherwise call `init_app`.
        source: the publisher's CloudEvents source, such as "/cadastro".
        broker: a function that returns the broker; by default `connect`, which reads the
            environment. A test may pass `lambda: MemoryBroker(...)`.
        **options: other arguments of `Publisher`.

    Example:
        ```python
        from flask import Flask
        from messaging.flask import PublisherExtension

        publishing = PublisherExtension(source="/cadastro", broker=lambda: MemoryBroker(topology))
        app = Flask(__name__)
        publishing.init_app(app)


        @app.post("/alunos")
        def enrol() -> tuple[str, int]:
            publishing.publisher.publish(ana)
            return "", 201
        ```
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        source: str,
        broker: Callable[[], Broker] | None = None,
        **options: Any,
    ) -> None:
        self._source = source
        self._make_broker = broker or connect
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add a publisher to `app`, and responses for publishing errors.

        Invalid settings are reported here, when the application is created. The response is 422 for
        an event that cannot be sent, and 503 if it was not accepted.

        Args:
            app: the application.

        Raises:
            SettingsError: if the environment's settings are invalid.
            MissingExtra: if they name RabbitMQ, and its client is not installed.
        """
        broker = self._make_broker()
        publisher = Publisher(broker.topic(), source=self._source, **self._options)
        # The buffer's threads start with the first event: making it costs nothing.
        app.extensions[_NAME] = publisher, publisher.buffered()
        for kind in PUBLISHING_ERRORS:
            app.register_error_handler(kind, _answer)

    @property
    def publisher(self) -> Publisher:
        """The publisher of the current application."""
        return self._parts()[0]

    @property
    def buffered(self) -> BufferedPublisher:
        """A publisher for busy routes: `buffered.publish(event).result()` shares requests.

        Buffered events are sent when the interpreter exits.
        """
        return self._parts()[1]

    def _parts(self) -> tuple[Publisher, BufferedPublisher]:
        parts: tuple[Publisher, BufferedPublisher] | None = current_app.extensions.get(_NAME)
        if parts is None:
            raise ConfigurationError(
                f"{current_app.name} has no publisher: call publishing.init_app(app)"
            )
        return parts


def _answer(error: Any) -> Response:
    problem = problem_of(error)
    return Response(problem.body, problem.status, problem.headers, mimetype=MEDIA_TYPE)
