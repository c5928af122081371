"""The whole system, and a browser in front of it: one of each for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.cadastro.local import Sistema
from tests.cadastro.browser.pagina import Pagina, chromium
from tests.cadastro.entrada import sessao


@pytest.fixture(scope="module")
def sistema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sistema]:
    """Every part, looked after as `make cadastro` does."""
    with Sistema(tmp_path_factory.mktemp("cadastro")) as partes, partes.cuidado():
        yield partes


@pytest.fixture(scope="module")
def _aberta(
    sistema: Sistema, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pagina, Path]]:
    pasta = tmp_path_factory.mktemp("chromium")
    with chromium(pasta) as navegador:
        quem = sessao(sistema.ajustes, "plantao")
        yield Pagina(navegador, sistema.url, quem), pasta / "baixados"


@pytest.fixture
def pagina(_aberta: tuple[Pagina, Path]) -> Pagina:
    """The pages, loaded anew, with nothing on its way."""
    feita, _ = _aberta
    feita.abrir()
    feita.largura(1280)
    feita.cores("light")
    feita.em_dia()
    feita.queixas()
    return feita


@pytest.fixture
def baixados(_aberta: tuple[Pagina, Path]) -> Path:
    """Where downloads go."""
    return _aberta[1]
