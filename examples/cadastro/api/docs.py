"""The API's contract as a page: generated from its OpenAPI document, without scripts or other
servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["SEM_SCRIPT", "pagina"]

SEM_SCRIPT = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
_CABECA = """<!doctype html>
<html lang="pt-BR"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>API REST cadastro</title><style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
pre, .tabela { overflow-x: auto; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; }
th, td { vertical-align: top; border-bottom: 1px solid #8888; }
</style></head><body><main>
"""


def pagina(documento: Mapping[str, Any]) -> str:
    """The whole page. All text from the document is escaped."""
    titulo = f"{documento['info']['title']} {documento['info']['version']}"
    partes = [_CABECA, f"<h1>{escape(titulo)}</h1>"]
    partes.append('<p>Para programas: <a href="openapi.json">openapi.json</a>.</p>')
    for caminho, metodos in documento["paths"].items():
        for metodo, dito in metodos.items():
            partes += _operacao(metodo.upper(), caminho, dito)
    for nome, esquema in documento["components"]["schemas"].items():
        partes += _esquema(nome, esquema)
    return "".join([*partes, "</main></body></html>"])


def _operacao(metodo: str, caminho: str, dito: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{metodo} {escape(caminho)}</code></h2>"
    yield f"<p>{escape(dito.get('description', ''))}</p>"
    corpo = dito.get("requestBody")
    if corpo is not None:
        yield f"<p>Corpo: {_tipo(corpo['content']['application/json']['schema'])}</p>"
    linhas = [
        (status, escape(resposta["description"]), _tipo(_json(resposta)))
        for status, resposta in dito["responses"].items()
    ]
    yield _tabela(("status", "o que diz", "corpo"), linhas)


def _json(resposta: Mapping[str, Any]) -> Mapping[str, Any]:
    dito: Mapping[str, Any] = resposta.get("content", {}).get("application/json", {})
    esquema: Mapping[str, Any] = dito.get("schema", {})
    return esquema


def _esquema(nome: str, esquema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{escape(nome)}">{escape(nome)}</h2>'
    yield f"<p>{escape(esquema.get('description', ''))}</p>"
    exigidos = esquema.get("required", ())
    linhas = [
        (escape(campo), "sim" if campo in exigidos else "não", _tipo(dito))
        for campo, dito in esquema.get("properties", {}).items()
    ]
    yield _tabela(("campo", "exigido", "tipo"), linhas)
    for exemplo in esquema.get("examples", ()):
        yield f"<pre>{escape(json.dumps(exemplo, ensure_ascii=False, indent=2))}</pre>"


def _tipo(esquema: Mapping[str, Any]) -> str:
    """A schema in a few words; a named one links to its own section."""
    if "$ref" in esquema:
        nome = escape(esquema["$ref"].rpartition("/")[2])
        return f'<a href="#{nome}">{nome}</a>'
    if "anyOf" in esquema:
        return " ou ".join(_tipo(um) for um in esquema["anyOf"])
    if "items" in esquema:
        return f"lista de {_tipo(esquema['items'])}"
    mais = [
        f"{nome} {esquema[nome]}"
        for nome in ("format", "enum", "minLength", "maxLength", "minimum", "maximum", "pattern")
        if nome in esquema
    ]
    return escape(", ".join([str(esquema.get("type", "")), *mais]))


def _tabela(titulos: tuple[str, ...], linhas: list[tuple[str, ...]]) -> str:
    cabeca = "".join(f'<th scope="col">{um}</th>' for um in titulos)
    corpo = "".join(f"<tr>{''.join(f'<td>{um}</td>' for um in linha)}</tr>" for linha in linhas)
    return (
        f'<div class="tabela" tabindex="0"><table><thead><tr>{cabeca}</tr></thead>'
        f"<tbody>{corpo}</tbody></table></div>"
    )
