"""The result of a file on the page: live to its last row, kept over a reload, and a CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cadastro.browser.pagina import Pagina


def enviar(pagina: Pagina, pasta: Path, linhas: list[str]) -> None:
    arquivo = pasta / "turma.csv"
    arquivo.write_text("\n".join(["nome;email;data_nascimento;cpf", *linhas]), encoding="utf-8")
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()


def contas(pagina: Pagina) -> dict[str, str]:
    nomes = ("linhas", "esperando", "novos", "atualizados", "iguais", "rejeitadas")
    return {nome: pagina.texto(f"#r-{nome}") for nome in nomes}


def test_each_row_of_a_file_is_told_and_the_same_file_again_has_no_new_student(
    pagina: Pagina, tmp_path: Path, baixados: Path
) -> None:
    # By the form, before the file: of two rows of one file either may come first.
    pagina.cadastrar(
        nome="Davi Resultado", email=f"{uuid4().hex[:10]}@exemplo.com.br", cpf="529.982.247-25"
    )
    mae = f"{uuid4().hex[:10]}@exemplo.com.br"
    turma = [
        f"Ana Resultado;{mae};2015-03-05;",
        f"Bia Resultado;{mae};2017-09-07;",
        f"Caio Resultado;{mae};2017-09-07;",
        f"Duda Resultado;{mae};2018-01-01;529.982.247-25",
        "Eva Resultado;;;",
    ]
    enviar(pagina, tmp_path, turma)

    pagina.esperar_texto("#envio-estado", "5 linhas decididas: 3 alunos novos, 2 linhas recusadas.")
    assert contas(pagina) == {
        "linhas": "5", "esperando": "0", "novos": "3",
        "atualizados": "0", "iguais": "0", "rejeitadas": "2",
    }  # fmt: skip
    recusadas = [
        [celula.text for celula in linha.find_elements("css selector", "th, td")]
        for linha in pagina.todos("#rejeitadas tbody tr")
    ]
    assert [um[:2] for um in recusadas] == [["5", "cpf"], ["6", "email"]]
    assert recusadas[0][2] == "este CPF já é de um aluno com outro nome"
    pagina.esperar_texto("#fila-alunos", "1 linha recusada ficou guardada")
    # All days are 12 or below: what is read is yyyy-mm-dd, and nothing is guessed.
    assert not pagina.um("#avisos").is_displayed()
    pagina.retratar("resultado-1280", ate="#planilha")
    pagina.largura(390)
    pagina.retratar("resultado-390", ate="#planilha")
    pagina.largura(1280)

    pagina.um("#baixar-tudo").click()
    pagina.esperar(lambda: (baixados / "resultado.csv").exists())
    texto = (baixados / "resultado.csv").read_text(encoding="utf-8-sig")
    lidas = list(csv.DictReader(io.StringIO(texto), delimiter=";"))
    assert sorted((um["linha"], um["situacao"], um["coluna"]) for um in lidas) == [
        ("2", "novo", ""), ("3", "novo", ""), ("4", "novo", ""),
        ("5", "recusado", "cpf"), ("6", "recusado", "email"),
    ]  # fmt: skip

    # Loaded anew, the page still knows it.
    pagina.abrir()
    pagina.esperar_texto("#envio-estado", "5 linhas decididas: 3 alunos novos")
    assert pagina.texto("#r-arquivo") == "turma.csv"
    # And any other browser has it in the list.
    pagina.executar("localStorage.clear()")
    pagina.abrir()
    pagina.em("secretaria")
    assert not pagina.um("#resultado").is_displayed()
    pagina.um("#lista-envios li button").click()
    pagina.esperar_texto("#envio-estado", "5 linhas decididas: 3 alunos novos")
    assert pagina.um("#resultado").is_displayed()

    enviar(pagina, tmp_path, [turma[0].replace("Ana", "ANA"), *turma[1:3]])
    pagina.esperar_texto(
        "#envio-estado", "3 linhas decididas: 0 alunos novos, 1 atualizado, 2 já cadastrados."
    )


@pytest.mark.parametrize("esquema", ["light", "dark"])
def test_what_the_reading_guessed_is_on_the_page(
    pagina: Pagina, tmp_path: Path, esquema: str
) -> None:
    pagina.cores(esquema)
    email = f"{uuid4().hex[:10]}@exemplo.com.br"
    enviar(pagina, tmp_path, [f"Ana Aviso;{email};05/03/2015;", f"Bia Aviso;{email}"])

    pagina.esperar_texto("#envio-estado", "2 linhas decididas: 2 alunos novos.")
    assert [um.text for um in pagina.todos("#avisos li")] == [
        (
            "data_nascimento: datas lidas como dd/mm/aaaa, e nenhuma linha o prova: "
            "confira o dia e o mês de uma delas"
        ),
        "linhas com menos células que o cabeçalho: o que falta foi lido como vazio (linha 3)",
    ]
    pagina.retratar(f"avisos-1280-{esquema}", ate="#planilha")
    pagina.largura(390)
    pagina.retratar(f"avisos-390-{esquema}", ate="#planilha")
