"""The pages by themselves: what the form says, what a keyboard reaches, what an eye can read."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from examples.cadastro.local import Sistema
from tests.cadastro.browser.pagina import SERVICOS, Pagina

CAMPOS = {
    "plataforma": {"aluno_id", "nome", "email", "curso"},
    "financeiro": {"aluno_id", "nome", "email", "cpf", "valor_mensalidade"},
    "marketing": {"aluno_id", "nome", "email", "curso"},
    "bi": {"aluno_id", "data_matricula", "curso", "origem"},
}


def email() -> str:
    return f"ana-{uuid4().hex[:10]}@exemplo.com.br"


def test_a_student_enters_once_and_arrives_four_times(pagina: Pagina, sistema: Sistema) -> None:
    antes, endereco, senha = pagina.todos_recebidos(), email(), f"correto-cavalo-{uuid4().hex}"
    aluno_id = pagina.cadastrar(
        nome="Ana Souza", email=endereco, cpf="52998224725", senha=senha,
        curso="Ciência de Dados", aceita_marketing=True,
    )  # fmt: skip

    for servico in SERVICOS:
        pagina.esperar(lambda um=servico: pagina.recebidos(um) == antes[um] + 1, servico)
        campos = pagina.recebido(servico, aluno_id)
        assert campos is not None
        assert set(campos) == CAMPOS[servico]
    pagina.seguir(aluno_id)
    pagina.esperar_texto("#comparado", "Um aluno entrou uma vez e chegou a 4 de 4 serviços.")

    # Which service has which field is seen; whose name it is, is not.
    plataforma, financeiro, marketing, bi = (pagina.coluna(um) for um in SERVICOS)
    for campo in ("nome", "email"):
        assert plataforma[campo] == financeiro[campo] == marketing[campo] == "oculto"
    assert financeiro["cpf"] == "oculto"
    pagina.em("plantao")
    assert "Ana Souza" not in pagina.texto("body")
    assert endereco not in pagina.texto("body")
    assert financeiro["valor_mensalidade"] == "não informado"
    assert plataforma["curso"] == marketing["curso"] == bi["curso"] == "Ciência de Dados"
    assert bi["origem"] == "formulário"
    assert re.fullmatch(r"\d\d/\d\d/\d{4}, \d\d:\d\d", bi["data_matricula"])
    for coluna, campo in [
        (plataforma, "cpf"), (marketing, "cpf"), (bi, "cpf"), (bi, "nome"), (bi, "email"),
        (financeiro, "curso"), (plataforma, "valor_mensalidade"),
    ]:  # fmt: skip
        assert coluna[campo] == "não recebe"
    for coluna in (plataforma, financeiro, marketing, bi):
        assert coluna["aluno_id"] == aluno_id
        assert coluna["senha"] == coluna["aceita_marketing"] == "nunca chega"
    assert pagina.um("#nome").get_property("value") == ""  # ready for the next

    # In no log, no database and no message: the folder holds all that the parts write.
    escritos = [um.read_bytes() for um in sistema.pasta.rglob("*") if um.is_file()]
    assert any(endereco.encode() in um for um in escritos)  # they are the right files
    assert not any(senha.encode() in um for um in escritos)
    assert pagina.queixas() == []


def test_without_consent_marketing_is_not_told(pagina: Pagina) -> None:
    antes = pagina.todos_recebidos()
    aluno_id = pagina.cadastrar(nome="Rui Barbosa", email=email())
    for servico in ("plataforma", "financeiro", "bi"):
        pagina.esperar(lambda um=servico: pagina.recebidos(um) == antes[um] + 1, servico)
    pagina.em_dia()
    assert pagina.recebidos("marketing") == antes["marketing"]
    assert pagina.recebido("marketing", aluno_id) is None
    pagina.seguir(aluno_id)
    pagina.esperar(
        lambda: set(pagina.coluna("marketing").values()) == {"não é avisado", "nunca chega"}
    )


def test_every_mistake_is_named_beside_its_field(pagina: Pagina) -> None:
    pagina.preencher(email="ana@", cpf="111.111.111-11", senha="curta")
    pagina.enviar_formulario()

    assert pagina.executar("return document.activeElement.id") == "resumo"
    itens = [um.text for um in pagina.todos("#resumo li")]
    assert [um.split(":")[0] for um in itens] == ["Nome", "E-mail", "CPF", "Senha"]
    for campo, rotulo in [
        ("nome", "Nome"),
        ("email", "E-mail"),
        ("cpf", "CPF"),
        ("senha", "Senha"),
    ]:
        entrada = pagina.um(f"#{campo}")
        assert entrada.get_attribute("aria-invalid") == "true"
        ditos = (entrada.get_attribute("aria-describedby") or "").split()
        assert any(pagina.texto(f"#{um}").startswith(f"{rotulo}: ") for um in ditos)
    assert pagina.um("#curso").get_attribute("aria-invalid") is None

    # The summary leads to the field, and a mended field stops complaining.
    pagina.um("#resumo a[href='#cpf']").click()
    assert pagina.executar("return document.activeElement.id") == "cpf"
    pagina.preencher(cpf="529.982.247-25")
    assert pagina.um("#cpf").get_attribute("aria-invalid") is None
    assert pagina.texto("#cpf-erro") == ""
    assert pagina.um("#senha").get_property("value") == "curta"  # nothing typed is thrown away


def test_the_same_person_again_is_answered_like_anybody(pagina: Pagina) -> None:
    endereco, antes = email(), pagina.recebidos("bi")
    aluno_id = pagina.cadastrar(nome="Eva Lima", email=endereco)
    pagina.esperar(lambda: pagina.recebidos("bi") == antes + 1)
    pagina.preencher(nome="Eva Lima", email=endereco.upper())
    pagina.enviar_formulario()
    pagina.esperar(lambda: pagina.um("#nome").get_property("value") == "")
    pagina.esperar_texto("#formulario-estado", "Eva Lima: cadastro feito.")
    assert pagina.um("#formulario-estado").get_attribute("data-aluno") == aluno_id
    # Who only knows a name and an address changes nothing of what is known.
    pagina.preencher(nome="Eva Lima", email=endereco, curso="Outro Curso")
    pagina.enviar_formulario()
    pagina.esperar_texto("#resumo", "não foi possível concluir por aqui")
    # One more, after whom anything of Eva's would have come too.
    pagina.cadastrar(nome="Depois Dela", email=email())
    pagina.esperar(lambda: pagina.recebidos("bi") >= antes + 2)
    pagina.em_dia()
    assert pagina.recebidos("bi") == antes + 2


def test_what_the_api_refuses_is_named_too(pagina: Pagina) -> None:
    pagina.cadastrar(nome="Eva Lima", email=email(), cpf="111.444.777-35")
    pagina.preencher(nome="Ivo Melo", email=email(), cpf="111.444.777-35")
    pagina.enviar_formulario()
    # A stranger: whose CPF it is, and that it is the CPF, is not told.
    motivo = "não foi possível concluir por aqui: fale com a secretaria."
    pagina.esperar_texto("#resumo", motivo)
    assert [um.text for um in pagina.todos("#resumo li")] == [motivo]
    assert pagina.um("#cpf").get_attribute("aria-invalid") is None

    # A character that the page lets pass, and the API does not.
    pagina.preencher(nome="Eva Lima", email=email(), cpf="")
    pagina.executar("document.getElementById('curso').value = 'a\\u0007b'")
    pagina.enviar_formulario()
    dito = "Curso: contém um caractere de controle, ou um que não se lê."
    pagina.esperar_texto("#curso-erro", dito)


def test_data_is_shown_as_text_and_never_as_markup(pagina: Pagina) -> None:
    nome = "<img src=x onerror=alert(1)><b>Bobby</b>"
    aluno_id = pagina.cadastrar(nome=nome, email=email(), curso="<script>alert(2)</script>")
    pagina.esperar(lambda: pagina.recebido("bi", aluno_id))
    pagina.esperar_texto("#formulario-estado", f"{nome}: cadastro feito")
    pagina.seguir(aluno_id)
    pagina.esperar(lambda: pagina.coluna("plataforma").get("curso") == "<script>alert(2)</script>")
    for qual in ("aluno", "plantao"):
        pagina.em(qual)
        assert pagina.todos("main img") == []
        assert pagina.todos("main b, main script") == []
    assert pagina.queixas() == []


def test_a_file_that_is_none_is_refused_before_it_is_sent(pagina: Pagina, tmp_path: Path) -> None:
    pagina.um("#enviar").click()
    assert pagina.texto("#arquivo-erro") == "Arquivo: escolha um arquivo."
    for nome, conteudo, dito in [("a.txt", "x", "terminar em .csv"), ("a.csv", "", "está vazio")]:
        (tmp_path / nome).write_text(conteudo)
        pagina.um("#arquivo").send_keys(str(tmp_path / nome))
        pagina.um("#enviar").click()
        assert dito in pagina.texto("#arquivo-erro")
        assert pagina.um("#arquivo").get_attribute("aria-invalid") == "true"


@pytest.mark.parametrize("qual", ["aluno", "secretaria", "plantao"])
def test_the_policy_is_strict_and_the_page_lives_with_it(pagina: Pagina, qual: str) -> None:
    pagina.em(qual)
    politica = httpx.get(pagina.url, trust_env=False).headers["content-security-policy"]
    assert "default-src 'none'" in politica
    assert "unsafe" not in politica
    assert "*" not in politica
    assert pagina.queixas() == []
    # It holds: what somebody would inject does not run, on whichever way it comes.
    for injetado in (
        "const s = document.createElement('script'); s.append('furado = 1'); body.append(s)",
        "body.setAttribute('onclick', 'furado = 1'); body.click()",
        "body.insertAdjacentHTML('beforeend', '<img src=x onerror=furado=1>')",
    ):
        resultado = pagina.executar(
            "const body = document.body;"
            f"try {{ {injetado} }} catch (erro) {{ return erro.name }} return 'silêncio'"
        )
        assert resultado in ("silêncio", "TypeError"), resultado
        assert pagina.todos("body > img") == []
        assert pagina.executar("return window.furado ?? null") is None, injetado
    assert pagina.queixas() != []  # the browser saw them, and refused
    origens = {
        pedido.split("/")[2].split(":")[0]
        for pedido in pagina.executar(
            "return performance.getEntriesByType('resource').map((um) => um.name)"
        )
    }
    assert origens == {"127.0.0.1"}


ORDEM = {
    "aluno": [
        "a.pular", "#escola", "#nome", "#email", "#cpf", "#senha", "#ver-senha", "#curso",
        "#aceita_marketing", "#formulario [type=submit]",
    ],
    "secretaria": [
        "a.pular", "#outra-pagina", "#sair", "#arquivo", "#enviar", "a.modelo",
    ],
    "plantao": [
        "a.pular", "#outra-pagina", "#sair", *(f"#servico-{um} button" for um in SERVICOS),
        "#matar-api", "#procurado", "#procura [type=submit]",
    ],
}  # fmt: skip
FOCADO = """
const e = document.activeElement, v = getComputedStyle(e);
const botao = document.querySelector('label[for=arquivo]');
const mostra = e.type === 'file' ? getComputedStyle(botao) : v;
return {ok: e.matches(arguments[0]), quem: e.outerHTML.slice(0, 80),
        contorno: mostra.outlineStyle !== 'none' && parseFloat(mostra.outlineWidth) >= 2};
"""


@pytest.mark.parametrize("qual", list(ORDEM))
def test_the_keyboard_reaches_everything_in_its_order(pagina: Pagina, qual: str) -> None:
    pagina.em(qual)
    pagina.executar("document.activeElement.blur()")
    for seletor in ORDEM[qual]:
        pagina.tecla(Keys.TAB)
        foco = pagina.executar(FOCADO, seletor)
        assert foco["ok"], f"{foco['quem']} has the focus, not {seletor}"
        assert foco["contorno"], f"one does not see the focus on {seletor}"


def test_the_keyboard_alone_is_enough(pagina: Pagina) -> None:
    pagina.em("aluno")
    pagina.executar("document.activeElement.blur()")
    for _ in range(ORDEM["aluno"].index("#nome") + 1):
        pagina.tecla(Keys.TAB)
    endereco = email()
    assert pagina.executar(FOCADO, "#nome")["ok"]
    pagina.tecla("Iara Prado", Keys.TAB, endereco, Keys.TAB, Keys.TAB, "uma senha boa", Keys.TAB)
    pagina.tecla(Keys.SPACE)
    assert pagina.um("#senha").get_attribute("type") == "text"
    assert pagina.um("#ver-senha").get_attribute("aria-pressed") == "true"
    pagina.tecla(Keys.TAB, "Design de Interfaces", Keys.TAB, Keys.SPACE, Keys.TAB, Keys.ENTER)
    pagina.esperar_texto("#formulario-estado", "Iara Prado: cadastro feito")
    assert pagina.executar(FOCADO, "#formulario [type=submit]")["ok"]  # it keeps its place
    aluno_id = pagina.um("#formulario-estado").get_attribute("data-aluno")
    assert aluno_id
    pagina.esperar(lambda: pagina.recebido("marketing", aluno_id))

    # The messages of a queue open, close, and scroll.
    resumo = pagina.um("#mensagens details summary")
    pagina.executar("arguments[0].focus()", resumo)
    pagina.tecla(Keys.ENTER)
    assert not pagina.executar("return arguments[0].parentElement.open", resumo)
    pagina.tecla(Keys.ENTER, Keys.TAB)
    assert pagina.executar(FOCADO, "#mensagens .rolar")["ok"]


CONTRASTE = """
const tela = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (cor) => {
  tela.clearRect(0, 0, 1, 1); tela.fillStyle = cor; tela.fillRect(0, 0, 1, 1);
  return [...tela.getImageData(0, 0, 1, 1).data];
};
const luz = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((soma, c, i) => soma + c * [0.2126, 0.7152, 0.0722][i], 0);
const fundo = (e) => {
  for (let um = e; um; um = um.parentElement) {
    const cor = rgba(getComputedStyle(um).backgroundColor);
    if (cor[3] === 255) return cor;
  }
  return [255, 255, 255, 255];
};
const fracos = []; let vistos = 0;
for (const e of document.querySelectorAll('body *')) {
  const texto = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!texto || !e.checkVisibility()) continue;
  vistos += 1;
  const [a, b] = [luz(rgba(getComputedStyle(e).color)), luz(fundo(e))].sort((x, y) => y - x);
  const razao = (a + 0.05) / (b + 0.05);
  if (razao < 4.5) fracos.push(`${razao.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
}
return {vistos, fracos};
"""


@pytest.mark.parametrize("esquema", ["light", "dark"])
def test_every_text_is_readable(pagina: Pagina, esquema: str, tmp_path: Path) -> None:
    pagina.cores(esquema)
    aluno_id = pagina.cadastrar(nome="Léa Dias", email=email(), aceita_marketing=True)
    pagina.seguir(aluno_id)
    pagina.esperar_texto("#comparado", "chegou a 4 de 4")
    pagina.mandar("marketing")
    pagina.esperar(lambda: pagina.estado("marketing") == "parado")
    pagina.preencher(email="errado")
    # The error comes when one leaves the field, and must not move the button from under a click.
    pagina.enviar_formulario()
    assert [um.text.split(":")[0] for um in pagina.todos("#resumo li")] == ["Nome", "E-mail"]
    assert pagina.texto("#formulario-estado") == ""
    pagina.um("#enviar").click()  # without a file
    fracos = {}
    for qual, textos in (("aluno", 15), ("secretaria", 12), ("plantao", 100)):
        pagina.em(qual)
        achado = pagina.executar(CONTRASTE)
        pagina.retratar(f"{qual}-{esquema}")
        assert achado["vistos"] > textos, qual
        fracos[qual] = achado["fracos"]
    pagina.mandar("marketing")
    assert fracos == {"aluno": [], "secretaria": [], "plantao": []}
    pagina.em_dia()


@pytest.mark.parametrize("largura", [1280, 390])
def test_nothing_is_wider_than_the_screen(pagina: Pagina, largura: int) -> None:
    pagina.largura(largura)
    aluno_id = pagina.cadastrar(
        nome="Maximiliana Gonçalves de Albuquerque e Vasconcelos", email=email(), cpf="",
        curso="Segurança da Informação", aceita_marketing=True,
    )  # fmt: skip
    pagina.seguir(aluno_id)
    pagina.esperar_texto("#comparado", "chegou a 4 de 4")
    pagina.em_dia()
    for qual in ORDEM:
        pagina.em(qual)
        assert pagina.executar(
            "const raiz = document.documentElement; return raiz.scrollWidth <= raiz.clientWidth"
        ), qual
        pagina.retratar(f"{qual}-{largura}")


def test_a_student_is_seen_on_the_way_and_with_less_movement_only_arrives(
    pagina: Pagina,
) -> None:
    pagina.em("plantao")
    assert {um.get_attribute("data-servico") for um in pagina.todos("#fluxo .parada")} >= {
        *SERVICOS
    }
    # What appears in the picture is noted, since it is gone before a test could look.
    olhar = (
        "window.vistos = []; new MutationObserver((mudancas) => { for (const um of mudancas) {"
        " for (const no of um.addedNodes) vistos.push(no.getAttribute('class'));"
        " if (um.attributeName === 'class') vistos.push(um.target.getAttribute('class')); } })"
        ".observe(document.getElementById('fluxo'),"
        " {childList: true, subtree: true, attributes: true});"
    )
    pagina.executar(olhar)
    pagina.cadastrar(nome="Sem Pressa", email=email())
    pagina.em("plantao")
    pagina.esperar(lambda: "parada acesa" in pagina.executar("return vistos"))
    assert "aluno" not in pagina.executar("return vistos")

    pagina.navegador.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    pagina.executar("window.vistos = []")
    pagina.cadastrar(nome="Com Pressa", email=email())
    pagina.em("plantao")
    pagina.esperar(lambda: "aluno" in pagina.executar("return vistos"))
    pagina.esperar(lambda: pagina.todos("#fluxo .aluno") == [])


@pytest.mark.parametrize("qual", list(ORDEM))
def test_what_can_be_reached_has_a_name(pagina: Pagina, qual: str) -> None:
    pagina.em(qual)
    pagina.navegador.execute_cdp_cmd("Accessibility.enable", {})
    arvore = pagina.navegador.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    pagina.navegador.execute_cdp_cmd("Accessibility.disable", {})

    def nome(no: dict) -> str:
        return no.get("name", {}).get("value", "").strip()

    tocaveis = [
        no for no in arvore
        if not no["ignored"] and no["role"]["value"] != "RootWebArea"
        and any(p["name"] == "focusable" and p["value"].get("value") for p in no["properties"])
    ]  # fmt: skip
    assert len(tocaveis) >= len(ORDEM[qual])
    assert [no["role"]["value"] for no in tocaveis if not nome(no)] == []
    ids = pagina.executar("return [...document.querySelectorAll('[id]')].map((um) => um.id)")
    assert len(ids) == len(set(ids))
    niveis = pagina.executar(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((um) => +um.tagName[1])"
    )
    assert niveis[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(niveis))
    assert pagina.um("html").get_attribute("lang") == "pt-BR"
