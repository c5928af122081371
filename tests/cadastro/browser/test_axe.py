"""axe finds nothing on the three pages, in either colour scheme, on a desk or a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cadastro.browser.pagina import PAGINAS, Pagina

AXE = Path(__file__).parents[3] / "tools" / "docsite" / "vendor" / "axe.min.js"
OLHAR = """
const pronto = arguments[arguments.length - 1];
const regras = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
axe.run(document, {runOnly: regras}).then(({violations}) => pronto(violations.map(({id, nodes}) =>
    `${id}: ${nodes.map((um) => um.html.slice(0, 90)).join(" | ")}`)));
"""


def queixas(pagina: Pagina) -> Any:
    pagina.executar(AXE.read_text(encoding="utf-8") + "\nwindow.axe = axe;")
    pagina.navegador.set_script_timeout(60)
    return pagina.navegador.execute_async_script(OLHAR)


@pytest.mark.parametrize("largura", [1280, 390])
@pytest.mark.parametrize("esquema", ["light", "dark"])
def test_axe_finds_nothing(pagina: Pagina, esquema: str, largura: int, tmp_path: Path) -> None:
    pagina.cores(esquema)
    pagina.largura(largura)
    aluno_id = pagina.cadastrar(nome="Ana Axe", email=f"{uuid4().hex[:10]}@exemplo.com.br")
    pagina.seguir(aluno_id)
    pagina.esperar_texto("#comparado", "chegou a 3 de 4")
    pagina.preencher(email="errado")
    pagina.enviar_formulario()
    arquivo = tmp_path / "turma.csv"
    arquivo.write_text("Estudante;e-mail\nAna;ana@exemplo.com.br\nBia;bia\n")
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()
    pagina.esperar(lambda: pagina.um("#previa").is_displayed())
    achadas = {}
    for qual in PAGINAS:
        pagina.em(qual)
        achadas[qual] = queixas(pagina)
    assert achadas == {qual: [] for qual in PAGINAS}


def test_axe_would_find_something(pagina: Pagina) -> None:
    pagina.em("aluno")
    pagina.executar("document.querySelector('label[for=nome]').remove()")
    assert any("label" in uma for uma in queixas(pagina))
