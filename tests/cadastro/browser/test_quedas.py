"""What dies, and what is lost: nobody. A file, a service that is down, an API killed with -9."""

from __future__ import annotations

import csv
import io
import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from examples.cadastro.local import Sistema
from tests.cadastro.browser.pagina import SERVICOS, Pagina

LINHAS = 2000
# Each wait has its own end; all of them together have this one.
pytestmark = pytest.mark.timeout(400)
SUJAS = {
    # line by line what is wrong, the column that the page must name, and how the row begins
    7: ("email", ["Sem Arroba", "sem-arroba.exemplo.com.br", "", "", "", ""]),
    150: ("nome", ["", "sem-nome@exemplo.com.br", "", "", "", ""]),
    151: ("cpf", ["Dígito Errado", "digito@exemplo.com.br", "529.982.247-26", "", "", "sim"]),
    700: ("valor_mensalidade", ["Letra", "letra@exemplo.com.br", "", "", "mil reais", ""]),
    1200: ("aceita_marketing", ["Talvez", "talvez@exemplo.com.br", "", "", "", "talvez"]),
    1999: ("nome", ["=1+1", "@SUM(A1)", "", "", "", ""]),
}


def numero(indice: int) -> str:
    """A CPF with right check digits for each row."""
    inicio = f"{100_000_000 + indice * 7919:09d}"
    for primeiro in (10, 11):
        soma = sum(int(digito) * (primeiro - lugar) for lugar, digito in enumerate(inicio))
        inicio += str(soma * 10 % 11 % 10)
    return inicio


NOMES = "Ana Bia Caio Davi Eva Gil Iara João Léa Mara Nina Otto Rui Téo Vera Zeca".split()
SOBRENOMES = "Alves Brito Couto Dias Farias Gomes Lima Melo Nunes Prado Reis Sá Vidal".split()
CURSOS = ["Ciência de Dados", "Engenharia de Software", "Design de Interfaces", ""]


def planilha(pasta: Path, turma: str, linhas: int = LINHAS) -> tuple[Path, int, int]:
    """A file, how many of its rows are good, and how many of those agreed to marketing."""
    texto = io.StringIO()
    escritor = csv.writer(texto)
    escritor.writerow(["nome", "email", "cpf", "curso", "valor_mensalidade", "aceita_marketing"])
    bons = com_aceite = 0
    for linha in range(2, linhas + 2):
        if linha in SUJAS:
            escritor.writerow(SUJAS[linha][1])
            continue
        bons += 1
        aceita = linha % 3 == 0
        com_aceite += aceita
        nome, sobrenome = NOMES[linha % len(NOMES)], SOBRENOMES[linha % len(SOBRENOMES)]
        escritor.writerow([
            f"{nome} {sobrenome}", f"aluno{linha}@{turma}.br",
            numero(linha) if linha % 2 and linhas == LINHAS else "",
            CURSOS[linha % len(CURSOS)], "1.020,50" if linha % 5 else "",
            "sim" if aceita else "não",
        ])  # fmt: skip
    arquivo = pasta / "alunos.csv"
    arquivo.write_text(texto.getvalue(), encoding="utf-8")
    return arquivo, bons, com_aceite


def test_a_service_that_was_down_catches_up_with_the_others(
    pagina: Pagina, tmp_path: Path, baixados: Path
) -> None:
    antes = pagina.todos_recebidos()
    arquivo, bons, com_aceite = planilha(tmp_path, "escola")
    assert bons == LINHAS - len(SUJAS)
    # Slow enough that one sees it grow; and what it said, even if nobody looks at that moment.
    pagina.em("secretaria")
    pagina.navegador.execute_cdp_cmd("Network.enable", {})
    pagina.navegador.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 120_000},
    )
    pagina.executar(
        "window.andou = []; new MutationObserver(() => andou.push(barra.value))"
        ".observe(barra, {attributes: true, attributeFilter: ['value']})"
    )
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()
    pagina.confirmar()

    pagina.mandar("financeiro")
    pagina.esperar(lambda: pagina.estado("financeiro") == "parado")
    pagina.esperar_texto("#servico-financeiro .frase", "Fora do ar")
    pagina.esperar_texto("#envio-estado", "2.000 linhas decididas: ")
    assert pagina.texto("#r-novos") == f"{bons:,}".replace(",", ".")
    pagina.em("secretaria")
    andou = pagina.executar("return window.andou")
    assert andou == sorted(andou) or 0 in andou
    assert any(0 < um < 100 for um in andou), "a bar that is empty and then full is no progress"
    pagina.navegador.execute_cdp_cmd("Network.disable", {})

    # Bad rows: their line, their column, why; and a file of them that no spreadsheet executes.
    assert pagina.texto("#r-rejeitadas") == str(len(SUJAS))
    achadas = [
        [celula.text for celula in linha.find_elements("css selector", "th, td")]
        for linha in pagina.todos("#rejeitadas tbody tr")
    ]
    assert [(int(um[0].replace(".", "")), um[1]) for um in achadas] == [
        (linha, coluna) for linha, (coluna, _) in SUJAS.items()
    ]
    assert all(um[2] for um in achadas)
    pagina.um("#baixar").click()
    pasta = pagina.esperar(lambda: [um for um in baixados.glob("*.csv") if um.stat().st_size])
    ruins = list(csv.reader(io.StringIO(pasta[0].read_text(encoding="utf-8-sig"))))
    assert len(ruins) == len(SUJAS) + 1
    assert "sem-arroba.exemplo.com.br" in ruins[1]
    assert [um for um in ruins[-1] if um.startswith(("=", "@", "+"))] == []
    assert "'=1+1" in ruins[-1]

    # The others go on; financeiro's queue keeps all of it.
    for servico in ("plataforma", "bi"):
        pagina.esperar(lambda um=servico: pagina.recebidos(um) == antes[um] + bons, servico)
    pagina.esperar(lambda: pagina.recebidos("marketing") == antes["marketing"] + com_aceite)
    assert pagina.recebidos("financeiro") < antes["financeiro"] + bons
    pagina.esperar(lambda: pagina.estados()["financeiro"]["na_fila"] >= bons // 2)
    pagina.esperar_texto("#servico-financeiro .frase", "nenhuma se perde")
    pagina.retratar("cadastro-parado-1280")
    pagina.largura(390)
    pagina.retratar("cadastro-parado-390")
    pagina.largura(1280)

    pagina.mandar("financeiro")
    pagina.esperar(lambda: pagina.estado("financeiro") == "alcancando")
    alguns = antes["financeiro"] + bons // 5
    pagina.esperar(lambda: pagina.recebidos("financeiro") > alguns)
    pagina.retratar("cadastro-recuperando-1280")
    # This one stands in the documentation: docs/assets/cadastro.png.
    pagina.retratar("cadastro-docs", ate="#ao-vivo > .cartao:has(#comparacao)")
    pagina.esperar_texto("#servico-financeiro .frase", "alcançou os outros")
    pagina.em_dia()
    depois = {um: pagina.recebidos(um) - antes[um] for um in SERVICOS}
    assert depois == {
        "plataforma": bons, "financeiro": bons, "bi": bons, "marketing": com_aceite
    }  # fmt: skip
    assert all(um["repetidos"] == 0 for um in pagina.estados().values())
    ditos = [um.text for um in pagina.todos("#acontecimentos li")]
    assert "Financeiro alcançou os outros." in ditos[0]
    assert "Financeiro voltou" in ditos[1]
    assert "Financeiro parou" in ditos[2]


def test_an_api_that_dies_between_insert_and_publish_loses_nobody(
    pagina: Pagina, sistema: Sistema
) -> None:
    antes, pid = pagina.todos_recebidos(), sistema.partes["api"].pid
    pagina.um("#matar-api").click()
    pagina.esperar_texto("#bancada-estado", "Armado")
    nome, endereco = "Noemi Prado", f"{uuid4().hex[:10]}@exemplo.com.br"
    pagina.preencher(nome=nome, email=endereco, aceita_marketing=True)
    pagina.enviar_formulario()
    # The answer died with the API; the page asks again, and hears that it is done.
    pagina.esperar_texto("#formulario-estado", "não está disponível")
    pagina.esperar_texto("#formulario-estado", "cadastro feito")
    assert sistema.partes["api"].pid not in (None, pid)
    for servico in SERVICOS:
        pagina.esperar(lambda um=servico: pagina.recebidos(um) == antes[um] + 1, servico)
    pagina.em_dia()
    # One more goes the same way after it: nothing of the first may come a second time.
    pagina.cadastrar(nome="Depois Dela", email=f"{uuid4().hex[:10]}@exemplo.com.br")
    for servico in ("plataforma", "financeiro", "bi"):
        pagina.esperar(lambda um=servico: pagina.recebidos(um) == antes[um] + 2, servico)
    pagina.em_dia()
    assert pagina.recebidos("marketing") == antes["marketing"] + 1
    assert all(um["repetidos"] == 0 for um in pagina.estados().values())


def test_an_api_that_dies_in_the_middle_of_a_file_loses_nobody(
    pagina: Pagina, sistema: Sistema, tmp_path: Path
) -> None:
    antes, pid = pagina.todos_recebidos(), sistema.partes["api"].pid
    arquivo, bons, com_aceite = planilha(tmp_path, "escola2", 60)
    pagina.um("#matar-api").click()
    pagina.esperar_texto("#bancada-estado", "Armado")
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()
    pagina.confirmar()
    pagina.esperar_texto("#envio-estado", "60 linhas decididas: ")
    for servico in ("plataforma", "financeiro", "bi"):
        pagina.esperar(lambda um=servico: pagina.recebidos(um) >= antes[um] + bons, servico)
    pagina.em_dia()
    assert sistema.partes["api"].pid not in (None, pid)
    assert {um: pagina.recebidos(um) - antes[um] for um in SERVICOS} == {
        "plataforma": bons, "financeiro": bons, "bi": bons, "marketing": com_aceite
    }  # fmt: skip
    assert all(um["repetidos"] == 0 for um in pagina.estados().values())


def test_a_service_killed_with_9_comes_again_by_itself(pagina: Pagina, sistema: Sistema) -> None:
    antes = pagina.todos_recebidos()
    pid = sistema.partes["bi"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    pagina.esperar(lambda: pagina.estado("bi") == "reiniciando")
    pagina.em_dia()
    assert sistema.partes["bi"].pid not in (None, pid)
    # Not before: the poll of the dead one may still be out, and what it takes comes back only
    # when its lease of a minute ends.
    pagina.cadastrar(nome="Depois da Queda", email=f"{uuid4().hex[:10]}@exemplo.com.br")
    pagina.esperar(lambda: pagina.recebidos("bi") == antes["bi"] + 1)
    assert "BI caiu e está voltando." in pagina.texto("#acontecimentos")


def test_a_page_that_lost_the_painel_says_so_and_finds_it_again(
    pagina: Pagina, sistema: Sistema
) -> None:
    antes = pagina.todos_recebidos()
    pid = sistema.partes["painel"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    pagina.esperar_texto("#sem-conexao", "Sem conexão com o painel")
    assert pagina.um("#sem-conexao").is_displayed()
    # The API is another part: whoever enrols meanwhile does not notice.
    pagina.preencher(nome="Sem Painel", email=f"{uuid4().hex[:10]}@exemplo.com.br")
    pagina.enviar_formulario()
    pagina.esperar_texto("#formulario-estado", "cadastro feito")
    pagina.em("plantao")
    pagina.esperar(lambda: not pagina.um("#sem-conexao").is_displayed())
    assert pagina.texto("#conexao") == "ao vivo"
    pagina.esperar(lambda: pagina.recebidos("bi") == antes["bi"] + 1)
