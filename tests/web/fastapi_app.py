"""A FastAPI application that publishes, for a real uvicorn: see test_fastapi.py."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from messaging import Event, Publisher
from messaging.fastapi import PublisherLifespan
from messaging.outbox import SqlOutbox
from messaging.publishing.buffered import BufferedPublisher


class AlunoCadastrado(Event, type="aluno.cadastrado", version=1, subject="aluno_id"):
    aluno_id: str
    nome: str


class NovoAluno(BaseModel):
    aluno_id: str
    nome: str


@asynccontextmanager
async def own_lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    engine = create_async_engine(os.environ["DATABASE"]) if "DATABASE" in os.environ else None
    yield {"engine": engine}
    if engine is not None:
        await engine.dispose()


publishing = PublisherLifespan(source="/cadastro", lifespan=own_lifespan, timeout=3)
app = FastAPI(lifespan=publishing.lifespan)
publishing.handle_errors(app)

Publishes = Annotated[Publisher, Depends(publishing.publisher)]
Buffers = Annotated[BufferedPublisher, Depends(publishing.buffered)]


@app.post("/async", status_code=201)
async def in_the_loop(aluno: NovoAluno, publisher: Publishes) -> None:
    await publisher.publish_async(AlunoCadastrado(**aluno.model_dump()))


@app.post("/sync", status_code=201)
def in_a_thread(aluno: NovoAluno, publisher: Publishes) -> None:
    publisher.publish(AlunoCadastrado(**aluno.model_dump()))


@app.post("/buffered", status_code=201)
async def shared(aluno: NovoAluno, buffered: Buffers) -> None:
    await buffered.publish(AlunoCadastrado(**aluno.model_dump()))


@app.post("/not-waited-for", status_code=202)
async def left_in_the_buffer(aluno: NovoAluno, buffered: Buffers) -> None:
    buffered.publish(AlunoCadastrado(**aluno.model_dump()))


@app.post("/outbox", status_code=201)
async def in_my_transaction(aluno: NovoAluno, request: Request) -> None:
    event = AlunoCadastrado(**aluno.model_dump())
    async with AsyncSession(request.state.engine) as session, session.begin():
        await session.execute(text("INSERT INTO alunos VALUES (:id)"), {"id": aluno.aluno_id})
        await session.run_sync(
            lambda plain: Publisher(SqlOutbox(plain), source="/cadastro").publish(event)
        )
        if aluno.nome == "rollback":
            await session.rollback()
