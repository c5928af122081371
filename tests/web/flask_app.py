"""A Flask application that publishes, for a real gunicorn: see test_flask.py."""

from __future__ import annotations

from flask import Flask, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError

from messaging import Event
from messaging.flask import PublisherExtension


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1, subject="aluno_id"):
    aluno_id: str
    nome: str


class NovoAluno(BaseModel):
    aluno_id: str
    nome: str


publishing = PublisherExtension(source="/cadastro", timeout=3)


def create_app() -> Flask:
    app = Flask(__name__)
    publishing.init_app(app)

    @app.post("/one")
    def one() -> ResponseReturnValue:
        # As docs/how-to/web-frameworks.md shows it.
        try:
            aluno = NovoAluno.model_validate(request.get_json())
        except ValidationError as error:
            return error.errors(include_url=False, include_context=False, include_input=False), 422
        publishing.publisher.publish(AlunoCadastrado(**aluno.model_dump()))
        return "", 201

    @app.post("/buffered")
    def buffered() -> tuple[str, int]:
        publishing.buffered.publish(AlunoCadastrado(**request.get_json())).result()
        return "", 201

    return app


app = create_app()
