"""The result of a file on the page: live to its last row, kept over a reload, and a CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from uuid import uuid4

import openpyxl
import pytest
from selenium.webdriver.support.ui import Select

from tests.cadastro.browser.pagina import Pagina
from tests.cadastro.browser.test_pagina import CONTRASTE


def enviar(pagina: Pagina, pasta: Path, linhas: list[str]) -> None:
    arquivo = pasta / "turma.csv"
    arquivo.write_text("\n".join(["nome;email;data_nascimento;cpf", *linhas]), encoding="utf-8")
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()
    pagina.confirmar()


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


def test_columns_of_any_name_are_matched_once_and_remembered(
    pagina: Pagina, tmp_path: Path
) -> None:
    arquivo = tmp_path / "outra.csv"
    email = f"{uuid4().hex[:10]}@exemplo.com.br"
    arquivo.write_text(f"Estudante;Contato da família\nAna Mapa;{email}\nBia Mapa;bia\n")
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()
    pagina.esperar(lambda: pagina.um("#previa").is_displayed())
    assert "nome" in pagina.texto("#previa-erro")
    # What cannot be yet is not sent.
    pagina.um("#previa-confirmar").click()
    pagina.esperar_texto("#previa-erro", "Ainda não serve")
    Select(pagina.um("#mapa-nome")).select_by_visible_text("Estudante")
    Select(pagina.um("#mapa-email")).select_by_visible_text("Contato da família")
    pagina.esperar_texto("#previa-linhas tbody", "vira um aluno")
    destinos = [um.text for um in pagina.todos("#previa-linhas .destino")]
    assert destinos[0] == "vira um aluno"
    assert destinos[1].startswith("Contato da família: ")
    assert pagina.texto("#previa-erro") == ""
    for esquema in ("light", "dark"):
        pagina.cores(esquema)
        assert pagina.executar(CONTRASTE)["fracos"] == []
        pagina.retratar(f"previa-1280-{esquema}")
    pagina.largura(390)
    assert pagina.executar(
        "const raiz = document.documentElement; return raiz.scrollWidth <= raiz.clientWidth"
    )
    pagina.retratar("previa-390")
    pagina.largura(1280)
    pagina.um("#previa-confirmar").click()
    pagina.esperar_texto("#envio-estado", "2 linhas decididas: 1 aluno novo, 1 linha recusada.")
    # But for the answer that said no, which the page told.
    assert [um for um in pagina.queixas() if "status of 422" not in um] == []

    # The same shape again: nothing has to be chosen; and it may be left alone.
    pagina.um("#arquivo").send_keys(str(arquivo))
    pagina.um("#enviar").click()
    pagina.esperar_texto("#previa-lembrado", "último arquivo com este cabeçalho")
    assert pagina.um("#mapa-nome").get_property("value") == "Estudante"
    pagina.um("#previa-desistir").click()
    pagina.esperar_texto("#envio-estado", "Nada foi cadastrado")
    assert not pagina.um("#previa").is_displayed()


def test_a_workbook_is_taken_as_it_is(pagina: Pagina, tmp_path: Path) -> None:
    livro = openpyxl.Workbook()
    folha = livro.active
    assert folha is not None
    folha.append(["nome", "email"])
    folha.append(["Ana Planilha", f"{uuid4().hex[:10]}@exemplo.com.br"])
    livro.save(tmp_path / "turma.xlsx")
    pagina.um("#arquivo").send_keys(str(tmp_path / "turma.xlsx"))
    pagina.um("#enviar").click()
    pagina.confirmar()
    pagina.esperar_texto("#envio-estado", "1 linha decidida: 1 aluno novo.")


def test_a_page_of_html_is_refused_before_anything_is_made_of_it(
    pagina: Pagina, tmp_path: Path
) -> None:
    (tmp_path / "sessao.csv").write_text("<html><body>Sua sessão expirou</body></html>")
    pagina.um("#arquivo").send_keys(str(tmp_path / "sessao.csv"))
    pagina.um("#enviar").click()
    pagina.esperar_texto("#arquivo-erro", "HTML")
