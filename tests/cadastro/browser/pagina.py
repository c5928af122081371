"""The three pages in headless Chromium, each in its tab, as their users see them."""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

__all__ = ["SERVICOS", "Pagina", "chromium"]

SERVICOS = ("plataforma", "financeiro", "marketing", "bi")
PACIENCIA = 120.0
"""Seconds after which what was waited for is said not to come; two thousand students take 30."""
ARTEFATOS = Path(__file__).parents[3] / "artefatos"
T = TypeVar("T")


@contextmanager
def chromium(pasta: Path) -> Iterator[webdriver.Chrome]:
    """A browser of its own: fresh profile, no traffic but the page's, downloads into `pasta`."""
    programas = [shutil.which("chromium"), shutil.which("chromedriver")]
    assert all(programas), "these tests need: apt-get install chromium chromium-driver"
    opcoes = webdriver.ChromeOptions()
    opcoes.binary_location = str(programas[0])
    # Chromium's sandbox does not run as root, which a build machine is.
    for palavra in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
                    "disable-background-networking", "disable-component-update", "disable-sync",
                    "disable-dev-shm-usage", "lang=pt-BR", "window-size=1280,900",
                    f"user-data-dir={pasta / 'perfil'}"):  # fmt: skip
        opcoes.add_argument(f"--{palavra}")
    opcoes.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    navegador = webdriver.Chrome(options=opcoes, service=webdriver.ChromeService(str(programas[1])))
    try:
        navegador.execute_cdp_cmd(
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(pasta / "baixados")},
        )
        yield navegador
    finally:
        navegador.quit()


PAGINAS = {"aluno": "", "secretaria": "secretaria.html", "plantao": "plantao.html"}
FRONT = Path(__file__).parents[3] / "examples" / "cadastro" / "front"


def _ids() -> dict[str, str]:
    """An id to the page that alone has it."""
    onde: dict[str, list[str]] = {}
    for pagina, arquivo in PAGINAS.items():
        texto = (FRONT / (arquivo or "index.html")).read_text(encoding="utf-8")
        for um in re.findall(r'\bid="([^"]+)"', texto):
            onde.setdefault(um, []).append(pagina)
    return {um: paginas[0] for um, paginas in onde.items() if len(paginas) == 1}


DE_QUEM = _ids()


class Pagina:
    """What one does with the pages, as somebody who may see them all. A selector with an id brings
    the tab of its page to the front; any other looks at the tab that is there.

    Nothing here reaches behind the pages but `recebido` and `estados`, which ask the routes that
    `plantao` asks.
    """

    def __init__(self, navegador: webdriver.Chrome, url: str, cabecalhos: dict[str, str]) -> None:
        self.navegador = navegador
        self.url = url
        self._cabecalhos = cabecalhos
        self._abas: dict[str, str] = {}
        self.atual = ""

    def entrar(self, quem: str = "direcao") -> None:
        """By the provider's page, as everybody does."""
        self.navegador.get(f"{self.url}/entrar")
        self.navegador.find_element(By.CSS_SELECTOR, f"button[value={quem}]").click()
        self.esperar(lambda: self.navegador.current_url == f"{self.url}/secretaria.html")

    def abrir(self) -> None:
        """Load each page anew, in its tab."""
        if not self._abas:
            self.entrar()
            self._abas["aluno"] = self.navegador.current_window_handle
            for nome in ("secretaria", "plantao"):
                self.navegador.switch_to.new_window("tab")
                self._abas[nome] = self.navegador.current_window_handle
        for nome, arquivo in PAGINAS.items():
            self.em(nome)
            self.navegador.get(f"{self.url}/{arquivo}")
            self.esperar(lambda: self.um("html").get_attribute("data-pronta") == "sim", nome)
        self.esperar(lambda: self.texto("#conexao") == "ao vivo")

    def em(self, nome: str) -> None:
        """Bring the tab of a page to the front."""
        if self.atual != nome:
            self.navegador.switch_to.window(self._abas[nome])
            self.atual = nome

    def _achar(self, css: str) -> None:
        achado = re.search(r"#([\w-]+)", css)
        if achado:
            dono = "plantao" if achado[1].startswith("servico-") else DE_QUEM.get(achado[1])
            if dono:
                self.em(dono)

    def um(self, css: str) -> WebElement:
        self._achar(css)
        return self.navegador.find_element(By.CSS_SELECTOR, css)

    def todos(self, css: str) -> list[WebElement]:
        self._achar(css)
        return self.navegador.find_elements(By.CSS_SELECTOR, css)

    def texto(self, css: str) -> str:
        # Also of what is hidden from the eye: a phone's table keeps its values for screen readers.
        return re.sub(r"\s+", " ", self.um(css).get_property("textContent") or "").strip()  # type: ignore[arg-type]

    def executar(self, codigo: str, *argumentos: Any) -> Any:
        return self.navegador.execute_script(codigo, *argumentos)

    def esperar(self, condicao: Callable[[], T], porque: str = "") -> T:
        """What `condicao` gives as soon as it is true."""
        fim = time.monotonic() + PACIENCIA
        while True:
            try:
                if achado := condicao():
                    return achado
            except StaleElementReferenceException:
                pass  # it was drawn anew while we looked
            assert time.monotonic() < fim, f"waited in vain: {porque or condicao}"
            time.sleep(0.05)

    def esperar_texto(self, css: str, pedaco: str) -> None:
        fim = time.monotonic() + PACIENCIA
        while pedaco not in self.texto(css):
            assert time.monotonic() < fim, f"{css} says {self.texto(css)!r}, not {pedaco!r}"
            time.sleep(0.05)

    # the form

    def preencher(self, **campos: str | bool) -> None:
        for nome, valor in campos.items():
            entrada = self.um(f"#{nome}")
            if isinstance(valor, bool):
                if entrada.is_selected() != valor:
                    entrada.click()
            else:
                entrada.clear()
                entrada.send_keys(valor)

    def enviar_formulario(self) -> None:
        self.um("#formulario [type=submit]").click()

    def cadastrar(self, **campos: str | bool) -> str:
        """Enrol, wait for the API's yes, and the new student's id."""
        antes = self._cadastrado()
        self.preencher(**campos)
        self.enviar_formulario()
        self.esperar_texto("#formulario-estado", "cadastro feito")
        return self.esperar(lambda: (novo := self._cadastrado()) != antes and novo)

    def _cadastrado(self) -> str:
        return self.um("#formulario-estado").get_attribute("data-aluno") or ""

    # the secretary's file

    def confirmar(self) -> None:
        """Look at the first rows of the file that was sent, and let it go on."""
        self.esperar(lambda: self.um("#previa").is_displayed(), "the first rows")
        self.um("#previa-confirmar").click()

    # the student whom whoever is on call looks at

    def seguir(self, aluno_id: str) -> None:
        """Ask for one student, and wait until the table is theirs."""
        entrada = self.um("#procurado")
        entrada.clear()
        entrada.send_keys(aluno_id)
        self.um("#procura [type=submit]").click()
        self.esperar(lambda: self.um("#comparacao").get_attribute("data-aluno") == aluno_id)

    def coluna(self, servico: str) -> dict[str, str]:
        """The table of one student: field to cell, for one service."""
        self.em("plantao")
        linhas: dict[str, str] = self.executar(
            "return Object.fromEntries([...document.querySelectorAll('#comparacao tbody tr')]"
            ".map(tr => [tr.dataset.campo, tr.querySelector("
            "`[data-servico=${arguments[0]}] .valor`).textContent]))",
            servico,
        )
        return linhas

    # the services

    def recebidos(self, servico: str) -> int:
        return int(self.texto(f"#servico-{servico} .recebidos").replace(".", ""))

    def todos_recebidos(self) -> dict[str, int]:
        return {servico: self.recebidos(servico) for servico in SERVICOS}

    def estado(self, servico: str) -> str:
        return self.um(f"#servico-{servico}").get_attribute("data-estado") or ""

    def mandar(self, servico: str) -> None:
        """Press the button of a service: it stops it, or starts it."""
        self.um(f"#servico-{servico} button").click()

    def em_dia(self) -> None:
        """Wait until nothing waits for any service."""
        self.esperar(
            lambda: all(self.estado(um) == "em-dia" for um in SERVICOS), "a service is behind"
        )

    def estados(self) -> dict[str, dict[str, Any]]:
        resposta = httpx.get(
            f"{self.url}/servicos", headers=self._cabecalhos, trust_env=False
        ).raise_for_status()
        return {um["servico"]: um for um in resposta.json()["servicos"]}

    def recebido(self, servico: str, aluno_id: str) -> dict[str, Any] | None:
        """The fields that were in the message, or None where there was none."""
        url = f"{self.url}/servicos/{servico}/alunos/{aluno_id}"
        resposta = httpx.get(url, headers=self._cabecalhos, trust_env=False)
        if resposta.status_code == 404:
            return None
        campos: dict[str, Any] = resposta.raise_for_status().json()["campos"]
        return campos

    # the eye and the keyboard

    def tecla(self, *teclas: str) -> None:
        ActionChains(self.navegador).send_keys(*teclas).perform()

    def tecla_com(self, junto: str, tecla: str) -> None:
        acoes = ActionChains(self.navegador)
        acoes.key_down(junto).send_keys(tecla).key_up(junto).perform()

    def largura(self, pontos: int, altura: int = 900) -> None:
        """Of every tab."""
        self._em_todas(
            "Emulation.setDeviceMetricsOverride",
            {"width": pontos, "height": altura, "deviceScaleFactor": 1, "mobile": pontos < 500},
        )

    def cores(self, esquema: str) -> None:
        """Of every tab."""
        self._em_todas(
            "Emulation.setEmulatedMedia",
            {"features": [
                {"name": "prefers-color-scheme", "value": esquema},
                # A colour on its way to another is neither, and a picture of it is never the same.
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]},
        )  # fmt: skip

    def _em_todas(self, comando: str, dito: dict[str, Any]) -> None:
        antes = self.atual
        for nome in self._abas:
            self.em(nome)
            self.navegador.execute_cdp_cmd(comando, dito)
        if antes:
            self.em(antes)

    def retratar(self, nome: str, *, ate: str = "html") -> None:
        """The page into `artefatos/`, which a build keeps: whole, or down to the end of `ate`."""
        ARTEFATOS.mkdir(exist_ok=True)
        self._achar(ate)
        largura = self.executar("return window.innerWidth")
        # As high as the page, so that there is no bar at its side.
        self.largura(largura, self.executar("return document.documentElement.scrollHeight"))
        foto = self.navegador.execute_cdp_cmd(
            "Page.captureScreenshot",
            {
                "captureBeyondViewport": True,
                "clip": {
                    "x": 0,
                    "y": 0,
                    "width": largura,
                    "scale": 1,
                    "height": self.executar(
                        "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
                        " + scrollY",
                        ate,
                    ),
                },
            },
        )
        (ARTEFATOS / f"{nome}.png").write_bytes(base64.b64decode(foto["data"]))
        self.largura(largura)

    def queixas(self) -> list[str]:
        """What the browser complained about since the last look, without answers that are none."""
        ditos = [um["message"] for um in self.navegador.get_log("browser")]
        return [dito for dito in ditos if "status of 404" not in dito]
