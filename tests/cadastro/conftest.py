"""Servers for the tests of `examples/cadastro/`: a document store, and AWS, both real processes."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from messaging.local import LocalServer

if importlib.util.find_spec("fastapi") is None:
    # `pytest` in an environment made by `make test`: these need `make cadastro-test`.
    collect_ignore_glob = ["*"]
else:
    from examples.cadastro.documentos import Alunos
    from examples.cadastro.processos import Parte, porta_livre


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a document store, one for each worker."""
    pasta = tmp_path_factory.mktemp("documentos")
    porta = porta_livre()
    parte = Parte(
        "documentos",
        None,
        *(sys.executable, str(Path(sys.executable).with_name("secantusd-py"))),
        *("--host", "127.0.0.1", "--port", str(porta), "--storage-path", str(pasta / "dados")),
        *("--log-level", "WARNING"),
        pasta=pasta,
        ambiente={},
    )
    parte.cuidar()
    try:
        fim = time.monotonic() + 60
        while True:
            assert parte.pid is not None, parte.ultimas_linhas()
            assert time.monotonic() < fim, "the document store does not answer"
            try:
                socket.create_connection(("127.0.0.1", porta), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        yield f"mongodb://127.0.0.1:{porta}/?retryWrites=false"
    finally:
        parte.parar()


@pytest.fixture
def banco() -> str:
    """A database of the test's own."""
    return f"teste-{uuid4().hex[:12]}"


@pytest.fixture
def alunos(mongo: str, banco: str) -> Iterator[Alunos]:
    """An empty document store."""
    guardados = Alunos(mongo, banco)
    guardados.preparar()
    yield guardados
    guardados.close()


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalServer]:
    """SNS, SQS and S3, one for each worker: use names of your own."""
    with LocalServer() as servidor:
        yield servidor


@pytest.fixture(scope="session")
def sessao(aws: LocalServer) -> boto3.Session:
    """Credentials for `aws`."""
    credenciais: Any = aws.credentials
    return boto3.Session(**credenciais)


@pytest.fixture(scope="session")
def s3(aws: LocalServer, sessao: boto3.Session) -> Any:
    """As the parts make it, but for `aws`."""
    from botocore.config import Config

    return sessao.client("s3", endpoint_url=aws.url, config=Config(signature_version="s3v4"))


@pytest.fixture(scope="session")
def sqs(aws: LocalServer, sessao: boto3.Session) -> Any:
    """As the parts make it, but for `aws`."""
    return sessao.client("sqs", endpoint_url=aws.url)


@pytest.fixture
def balde(s3: Any) -> str:
    """A new bucket."""
    nome = f"balde-{uuid4().hex[:12]}"
    s3.create_bucket(
        Bucket=nome, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name}
    )
    return nome


def terminar(processo: subprocess.Popen[Any]) -> None:
    """End and reap a process that a test started."""
    if processo.poll() is None:
        processo.kill()
    processo.wait()
    for cano in (processo.stdin, processo.stdout, processo.stderr):
        if cano is not None:
            cano.close()
