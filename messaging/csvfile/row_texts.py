"""Messages about a cell or a row: (English, Portuguese), by code."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ROW_TEXTS"]

ROW_TEXTS: Mapping[str, tuple[str, str]] = {
    # A cell
    "empty": ("empty", "vazio"),
    "control": ("holds the control character {which}", "contém o caractere de controle {which}"),
    "lost": (
        (
            "a letter was lost (U+FFFD) by the program that wrote the file: export it again as "
            "CSV UTF-8"
        ),
        (
            "uma letra se perdeu (U+FFFD) no programa que gravou o arquivo: exporte de novo como "
            "CSV UTF-8"
        ),
    ),
    "formula": (
        "a formula of a spreadsheet: write the text itself",
        "é uma fórmula de planilha: escreva o próprio texto",
    ),
    "error": (
        "an error of the spreadsheet: correct the formula there",
        "é um erro da planilha: corrija a fórmula lá",
    ),
    "placeholder": (
        (
            "a word that means nothing: leave the cell empty, or declare that it means empty "
            "(--empty, or empty = [...])"
        ),
        (
            "é uma palavra que só marca a falta do dado: deixe a célula vazia, ou diga que ela "
            "significa vazio (--empty, ou empty = [...])"
        ),
    ),
    "shortened": (
        (
            "Excel shortened a long number (as in 1,23E+10) and its last digits are lost: format "
            "the column as text and fill it in again"
        ),
        (
            "o Excel encurtou um número longo (como em 1,23E+10) e os últimos algarismos se "
            "perderam: formate a coluna como texto e preencha de novo"
        ),
    ),
    "email": ("not an e-mail address", "não é um endereço de e-mail"),
    "email.accent": (
        (
            "an e-mail address with an accented letter before the @: most mail services cannot "
            "send to it"
        ),
        (
            "endereço de e-mail com letra acentuada antes do @: a maioria dos serviços de e-mail "
            "não consegue enviar para ele"
        ),
    ),
    "boolean": (
        "neither yes nor no: write sim or não (s/n, true/false, 1/0)",
        "nem sim nem não: escreva sim ou não (s/n, 1/0)",
    ),
    "number": ("not a number: write {wanted}", "não é um número: escreva {wanted}"),
    "number.either": ("1.234,56 or 1234.56", "1.234,56 ou 1234.56"),
    "number.thousand": (
        "1.234 may be one or a thousand: write 1234,00, or say decimal_comma = true or false",
        "1.234 pode ser um ou mil: escreva 1234,00, ou diga decimal_comma = true ou false",
    ),
    "date": (
        "not a date: write dd/mm/yyyy, dd/mm/yyyy hh:mm or yyyy-mm-dd",
        "não é uma data: escreva dd/mm/aaaa, dd/mm/aaaa hh:mm ou aaaa-mm-dd",
    ),
    "date.none": (
        "there is no such date or time ({order} was read)",
        "essa data ou hora não existe (lida como {order})",
    ),
    "date.serial": (
        (
            "a date as Excel counts it (a number of days): format the column as a date and export "
            "the file again"
        ),
        (
            "é uma data como o Excel a conta (um número de dias): formate a coluna como data e "
            "exporte o arquivo de novo"
        ),
    ),
    "date.century": (
        "a year of two digits: write it with four (dd/mm/yyyy)",
        "ano com dois algarismos: escreva-o com quatro (dd/mm/aaaa)",
    ),
    "date.year": (
        (
            "an unlikely year: {first} to {last} are accepted (years = [...] in the map changes "
            "that)"
        ),
        (
            "esse ano não pode estar certo: aceitos de {first} a {last} (years = [...] no mapa diz "
            "outra coisa)"
        ),
    ),
    "date.both": (
        (
            "day and month cannot be told apart: other lines of the column prove both orders; "
            "write yyyy-mm-dd, or say --date-order dmy or mdy"
        ),
        (
            "não se sabe o que é dia e o que é mês: outras linhas da coluna provam as duas ordens; "
            "escreva aaaa-mm-dd, ou diga --date-order dmy ou mdy"
        ),
    ),
    "date.odd": (
        (
            "day and month cannot be told apart: line {line} has year, day and month in that "
            "order; write yyyy-mm-dd"
        ),
        (
            "não se sabe o que é dia e o que é mês: a linha {line} traz ano, dia e mês nessa "
            "ordem; escreva aaaa-mm-dd"
        ),
    ),
    "date.zone": (
        "an offset from UTC that is not known: write it like GMT-3 or -03:00",
        "fuso horário desconhecido: escreva como GMT-3 ou -03:00",
    ),
    "date.time": ("a date was expected, without a time", "esperada só a data, sem a hora"),
    "date.naive": (
        "a time without an offset from UTC was expected",
        "esperada uma hora sem fuso horário",
    ),
    "nothing": (
        "nothing to make an id of: {names} is empty",
        "nada de que fazer a identificação: {names} vazio",
    ),
    # A row
    "also": (" (also wrong: {names})", " (também errado: {names})"),
    "cells": (
        "{found} cells where the header has {width}",
        "{found} células, e o cabeçalho tem {width}",
    ),
    "cell": ("1 cell where the header has {width}", "1 célula, e o cabeçalho tem {width}"),
    "delimiter": (
        "its cells are separated by {found}, and the header's by {wanted}",
        "as células desta linha são separadas por {found}, e as do cabeçalho por {wanted}",
    ),
    "tab": ("tab", "tabulação"),
    "repeated": ("the header, once more", "é o cabeçalho, repetido"),
    "long": ("longer than {most:,} characters", "mais de {most:,} caracteres"),
    "bytes": ("neither UTF-8 nor Windows-1252", "nem UTF-8 nem Windows-1252"),
    "quotes": (
        (
            'a quotation mark (") opens a cell and is not closed as it should be; inside a quoted '
            "cell write it twice"
        ),
        (
            'aspas (") abrem uma célula e não fecham como deviam; dentro de uma célula entre '
            "aspas, escreva-as duas vezes"
        ),
    ),
    "wrapped": (
        (
            "the whole line is in quotation marks, as Excel saves a CSV that was pasted into one "
            "column: split it there (Data, Text to Columns) and save it again"
        ),
        (
            "a linha toda está entre aspas, como o Excel grava um CSV colado em uma só coluna: "
            "separe lá (Dados, Texto para Colunas) e salve de novo"
        ),
    ),
}
