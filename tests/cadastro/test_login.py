"""The login as a browser goes through it, against a real provider of OpenID Connect."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.passes import Passes
from examples.cadastro.processos import Parte, porta_livre

SEGREDO_PASSES = "o dos passes"


def _de_pe(parte: Parte, url: str) -> None:
    fim = time.monotonic() + 60
    while True:
        assert parte.pid is not None, parte.ultimas_linhas()
        assert time.monotonic() < fim, parte.ultimas_linhas()
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the server of the pages; the provider runs beside it."""
    pasta = tmp_path_factory.mktemp("login")
    porta, porta_login = porta_livre(), porta_livre()
    emissor = f"http://127.0.0.1:{porta_login}"
    ambiente = {
        "CADASTRO_PORTA": str(porta),
        "CADASTRO_PASTA": str(pasta),
        "CADASTRO_OIDC_EMISSOR": emissor,
        "CADASTRO_OIDC_SEGREDO": "o do cliente",
        "CADASTRO_SEGREDO_SESSAO": "o da sessão",
        "CADASTRO_SEGREDO_PASSES": SEGREDO_PASSES,
        "MESSAGING_TOPIC": "alunos",
        "AWS_DEFAULT_REGION": "sa-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # no queue answers, and none is needed
    }
    assert Ajustes.do_ambiente(ambiente).porta == porta
    partes = [
        Parte("login", "examples.cadastro.login_local", str(porta_login), pasta=pasta, ambiente={}),
        Parte("painel", "examples.cadastro.painel", pasta=pasta, ambiente=ambiente),
    ]
    try:
        for parte in partes:
            parte.cuidar()
        _de_pe(partes[0], f"{emissor}/.well-known/openid-configuration")
        _de_pe(partes[1], f"http://127.0.0.1:{porta}/config.json")
        yield f"http://127.0.0.1:{porta}"
    finally:
        for parte in partes:
            parte.parar()


@pytest.fixture
def navegador() -> Iterator[httpx.Client]:
    """Cookies and redirects, as a browser has them."""
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=20) as cliente:
        yield cliente


def entrar(navegador: httpx.Client, url: str, quem: str, pagina: str) -> httpx.Response:
    """Ask for a page, choose a person at the provider, and come back."""
    login = navegador.get(f"{url}/{pagina}.html")
    assert urlsplit(login.url.__str__()).port != urlsplit(url).port  # at the provider's
    assert f'value="{quem}"' in login.text
    return navegador.post(login.url, data={"sub": quem})


def test_whoever_logs_in_comes_back_to_the_page_and_may_do_what_the_role_says(
    navegador: httpx.Client, url: str
) -> None:
    chegada = entrar(navegador, url, "secretaria", "secretaria")

    assert (chegada.status_code, str(chegada.url)) == (200, f"{url}/secretaria.html")
    assert "Últimos envios" in chegada.text
    quem = navegador.get(f"{url}/quem").json()
    assert (quem["nome"], quem["papeis"]) == ("Sônia, da secretaria", ["secretaria"])
    passe = navegador.get(f"{url}/passe").json()["passe"]
    assert Passes(SEGREDO_PASSES).de(f"Bearer {passe}") == "secretaria"
    assert navegador.get(f"{url}/servicos").status_code == 403
    assert navegador.get(f"{url}/plantao.html").status_code == 403

    navegador.post(f"{url}/sair", headers={"x-csrf": quem["csrf"]})
    assert navegador.get(f"{url}/passe").status_code == 401
    assert navegador.get(f"{url}/quem").json()["nome"] is None


def test_a_person_without_a_role_is_told_so(navegador: httpx.Client, url: str) -> None:
    chegada = entrar(navegador, url, "visita", "plantao")
    assert chegada.status_code == 403
    assert "A sua conta não tem acesso a esta página." in chegada.text


def test_a_login_that_was_given_up_can_be_tried_again(navegador: httpx.Client, url: str) -> None:
    login = navegador.get(f"{url}/plantao.html")
    volta = navegador.post(login.url, data={"action": "deny"})
    assert volta.status_code == 400
    assert "O login não foi concluído." in volta.text
    assert 'href="/entrar?para=/plantao.html"' in volta.text
    assert navegador.get(f"{url}/servicos").status_code == 401


def test_an_answer_serves_once_and_only_the_browser_that_asked(
    navegador: httpx.Client, url: str
) -> None:
    login = navegador.get(f"{url}/plantao.html")
    resposta = navegador.post(login.url, data={"sub": "plantao"}, follow_redirects=False)
    volta = resposta.headers["location"]
    with httpx.Client(trust_env=False, follow_redirects=True) as outro:
        assert outro.get(volta).status_code == 400  # stolen: another browser's state
        assert outro.get(f"{url}/servicos").status_code == 401
    assert navegador.get(volta).status_code == 200
    assert navegador.get(volta).status_code == 400  # a second time


def test_the_login_leads_nowhere_else(navegador: httpx.Client, url: str) -> None:
    for para in ("https://mau.example/", "//mau.example", "/servicos", "\\mau"):
        login = navegador.get(f"{url}/entrar", params={"para": para})
        chegada = navegador.post(login.url, data={"sub": "secretaria"})
        assert str(chegada.url) == f"{url}/secretaria.html"


def test_the_cookie_is_for_this_server_alone(navegador: httpx.Client, url: str) -> None:
    login = navegador.get(f"{url}/secretaria.html")
    resposta = navegador.post(login.url, data={"sub": "secretaria"}, follow_redirects=False)
    posto = navegador.get(resposta.headers["location"], follow_redirects=False)
    cookie = posto.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_the_log_names_nobody(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    pasta = next(tmp_path_factory.getbasetemp().glob("login*"))
    escrito = (Path(pasta) / "log" / "painel.log").read_text()
    for nome in ("Sônia", "Paulo", "Vito"):
        assert nome not in escrito
