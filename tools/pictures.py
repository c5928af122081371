"""Draws the site's pictures into docs/assets and docs/pt/assets.

    python tools/pictures.py            draw them all
    python tools/pictures.py --check    say whether they are as drawn, and draw nothing
    python tools/pictures.py --social   have Chromium write social.png, which a shared link shows

The one of the home page is made from `consumers/events.py`: which service receives which fields.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from consumers.events import AlunoCadastrado  # noqa: E402 - the school is beside, not installed
from messaging.projection import Projection  # noqa: E402
from tools.docsite.drawing import Drawing, stylesheet  # noqa: E402

FOLDERS = (ROOT / "docs" / "assets", ROOT / "docs" / "pt" / "assets")
SERVICES = ("plataforma", "financeiro", "marketing", "bi")


def fan_out(language: int) -> Drawing:
    """One student to four queues, each with the fields of its view."""
    draw = Drawing(480, 402, language)
    seen = {next(iter(view.audience)): view for view in AlunoCadastrado.__projections__}
    fields = list(AlunoCadastrado.model_fields)
    draw.box(4, 4, 472, 96, "tint")
    draw.text(16, 27, "AlunoCadastrado", "title")
    draw.text(464, 27, ("one event", "um evento"), "soft", at="end")
    draw.chips(16, 40, 450, fields)
    draw.arrow((240, 100), (240, 120), kind="brand", head=False)
    draw.box(150, 120, 180, 30, "tint")
    draw.text(240, 140, ("SNS topic: alunos", "tópico SNS: alunos"), "title", at="middle", room=176)
    draw.arrow((240, 150), (240, 318), kind="brand", head=False)
    for number, service in enumerate(SERVICES):
        left, y = number % 2 == 0, 168 + 104 * (number // 2)
        x, side = (4, 216) if left else (264, 264)
        draw.arrow((240, y + 46), (side, y + 46), kind="brand", head=False)
        draw.box(x, y, 212, 94)
        draw.text(x + 10, y + 21, service, "title")
        view = seen[service]
        if view.wanted.__func__ is not Projection.wanted.__func__:
            draw.text(x + 202, y + 21, ("if she agreed", "se aceitou"), "warm", at="end")
        else:
            draw.text(x + 202, y + 21, ("SQS queue", "fila SQS"), "soft", at="end")
        draw.chips(x + 10, y + 34, 196, view.model_fields, "tint")
        draw.dot((240, 96), (240, y + 46), (side, y + 46))
    nobody = [
        name for name in fields if not any(name in view.model_fields for view in seen.values())
    ]
    words = ("never leave the producer", "nunca saem do produtor")
    draw.text(240, 390, f"{', '.join(nobody)}: {draw.say(words)}", "soft", at="middle", room=476)
    return draw


def event(language: int) -> Drawing:
    """The sequence of an event, from publish to delete."""
    draw = Drawing(720, 436, language)
    lines = (70, 240, 400, 540, 660)
    names = (
        ("producer", "produtor"),
        ("SNS topic", "tópico SNS"),
        ("queue", "fila"),
        "worker",
        "handler",
    )
    for x, name in zip(lines, names, strict=True):
        draw.card(x - 56, 6, 112, 32, name, kind="tint")
        draw.arrow((x, 38), (x, 428), kind="dash", head=False)
    producer, topic, queue, worker, handler = lines
    say = draw.arrow
    say(
        (producer, 72),
        (topic, 72),
        kind="brand",
        words=("one copy per view", "uma cópia por visão"),
    )
    say((topic, 98), (producer, 98), words=("MessageId: accepted", "MessageId: aceito"))
    draw.text(producer + 8, 120, ("publish returns", "publish retorna"), "soft")
    say((topic, 138), (queue, 138), kind="brand", words=("filter: audience", "filtro: audience"))
    say((worker, 172), (queue, 172), words=("receive", "recebe"))
    say((queue, 198), (worker, 198), kind="brand", words=("up to ten", "até dez"))
    draw.box(queue - 6, 198, 12, 206, "heat")
    draw.text(queue - 14, 290, ("hidden from", "escondida dos"), "warm", at="end")
    draw.text(queue - 14, 307, ("other workers", "outros workers"), "warm", at="end")
    say((worker, 232), (handler, 232), kind="brand", words=("the view", "a visão"))
    draw.box(handler - 6, 232, 12, 96, "tint")
    say((worker, 270), (queue, 270), words=("renews the lease", "renova o lease"))
    say((handler, 328), (worker, 328), words=("returns", "retorna"))
    say((worker, 404), (queue, 404), kind="brand", words=("deletes", "apaga"))
    draw.text(worker + 12, 366, ("acknowledged", "confirmada"), "soft")
    draw.text(worker + 12, 408, ("ten in a request", "dez por pedido"), "soft")
    return draw


def lease(language: int) -> Drawing:
    """Leases and attempts on a time line."""
    draw = Drawing(720, 372, language)
    draw.arrow((100, 346), (712, 346))
    draw.text(706, 364, ("time", "tempo"), "soft", at="end")
    rows = (
        (20, ("it works", "dá certo")),
        (128, ("it fails", "falha")),
        (236, ("killed", "morto")),
    )
    for y, name in rows:
        draw.text(4, y + 38, name, "title", room=96)
    hidden = ("lease: hidden from others", "lease: escondida dos outros")
    # A handler that outlives half a lease.
    draw.box(104, 20, 420, 26, "tint")
    draw.text(114, 37, hidden, "soft")
    draw.box(104, 52, 420, 26, "card")
    draw.text(114, 69, ("the handler runs", "o handler roda"), "soft")
    for x in (254, 404):
        draw.arrow((x, 96), (x, 47), kind="brand")
    draw.text(
        329, 108, ("renewed when half is left", "renovado na metade do tempo"), "soft", at="middle"
    )
    draw.arrow((524, 49), (556, 49), kind="brand")
    draw.text(562, 53, ("deleted", "apagada"), "title")
    # One that raises.
    draw.box(104, 128, 120, 26, "tint")
    draw.text(114, 145, ("lease", "lease"), "soft")
    draw.box(104, 160, 80, 26, "heat")
    draw.text(112, 177, ("raises", "exceção"), "warm", room=74)
    draw.box(224, 128, 190, 26, "card")
    draw.text(234, 145, ("waits: backoff, jitter", "espera: backoff, jitter"), "soft", room=180)
    draw.box(414, 128, 110, 26, "tint")
    draw.text(424, 145, ("attempt 2", "tentativa 2"), "soft")
    draw.text(424, 177, ("receive_count: 2", "receive_count: 2"), "small")
    draw.arrow((524, 141), (556, 141), kind="brand")
    draw.text(562, 137, ("deleted, or", "apagada, ou"), "title")
    draw.text(562, 155, ("a dead letter after", "na DLQ, depois de"), "soft")
    draw.text(562, 171, "max_attempts", "mono")
    # A worker that is gone.
    draw.box(104, 236, 240, 26, "tint")
    draw.text(114, 253, hidden, "soft", room=226)
    draw.box(104, 268, 110, 26, "heat")
    draw.text(112, 285, ("kill -9", "kill -9"), "warm")
    draw.arrow((344, 249), (414, 249), kind="hot")
    draw.text(352, 285, ("lease ends", "o lease vence"), "warm")
    draw.box(414, 236, 110, 26, "tint")
    draw.text(420, 253, ("another worker", "outro worker"), "soft", room=104)
    draw.arrow((524, 249), (556, 249), kind="brand")
    draw.text(562, 253, ("deleted", "apagada"), "title")
    draw.text(
        104,
        320,
        (
            "visibility_timeout: 60 s unless you say otherwise",
            "visibility_timeout: 60 s, se você não disser outra coisa",
        ),
        "soft",
    )
    return draw


def fifo(language: int) -> Drawing:
    """Groups of a FIFO topic beside each other."""
    draw = Drawing(680, 262, language)
    for x, name in (
        (110, ("in the queue, in order", "na fila, em ordem")),
        (398, ("in a handler", "em um handler")),
        (548, ("outcome", "resultado")),
    ):
        draw.text(x, 18, name, "title")
    rows = (("ana", "a", "card"), ("bia", "b", "card"), ("caio", "c", "heat"))
    for number, (group, letter, kind) in enumerate(rows):
        y = 32 + 74 * number
        draw.text(4, y + 27, (f"group {group}", f"grupo {group}"), "mono")
        for place in range(3):
            draw.card(110 + 84 * place, y + 4, 72, 36, f"{letter}{4 - place}", kind=kind)
        draw.arrow((350, y + 22), (394, y + 22), kind="brand")
        draw.card(398, y + 4, 96, 36, f"{letter}1", kind="heat" if letter == "c" else "tint")
        draw.arrow((494, y + 22), (542, y + 22), kind="hot" if letter == "c" else "brand")
    draw.text(548, 58, ("deleted, then a2", "apagada, depois a2"), "soft", room=132)
    draw.text(548, 132, ("deleted, then b2", "apagada, depois b2"), "soft", room=132)
    draw.text(548, 200, ("fails: c1 comes", "falha: c1 volta"), "warm", room=132)
    draw.text(548, 216, ("again before c2", "antes de c2"), "warm", room=132)
    draw.text(
        110,
        244,
        ("c2 to c4 wait for c1; ana and bia do not", "c2 a c4 esperam por c1; ana e bia não"),
        "soft",
    )
    return draw


def circuit(language: int) -> Drawing:
    """When the circuit opens, and what closes it."""
    draw = Drawing(680, 236, language)
    draw.card(
        8,
        66,
        190,
        84,
        ("closed", "fechado"),
        (("full concurrency,", "toda a concorrência,"), ("failures count", "as falhas contam")),
        "tint",
    )
    draw.card(
        482,
        66,
        190,
        84,
        ("open", "aberto"),
        (
            ("half the concurrency,", "metade da concorrência,"),
            ("tries about ten a second", "tenta umas dez por segundo"),
        ),
        "heat",
    )
    draw.arrow((198, 88), (482, 88), kind="hot")
    draw.text(
        340,
        62,
        ("20 different messages fail", "20 mensagens diferentes falham"),
        "soft",
        at="middle",
    )
    draw.text(340, 79, ("in succession", "em seguida"), "soft", at="middle")
    draw.arrow((482, 128), (198, 128), kind="brand")
    draw.text(340, 148, ("the first success", "o primeiro sucesso"), "soft", at="middle")
    draw.text(
        340, 165, ("calls back what failed", "chama de volta o que falhou"), "soft", at="middle"
    )
    draw.across(
        24,
        (
            "nothing succeeds: it may be an outage, so failures do not count for up to ten minutes",
            "nada dá certo: pode ser uma queda, e as falhas não contam por até dez minutos",
        ),
    )
    draw.across(
        216,
        (
            "others succeed: a failure is the message's own, and counts towards max_attempts",
            "outras dão certo: a falha é da própria mensagem e conta para max_attempts",
        ),
    )
    return draw


def outbox(language: int) -> Drawing:
    """The row and its event in one transaction, and the relay that sends it."""
    draw = Drawing(700, 214, language)
    draw.card(6, 70, 108, 60, ("your code", "seu código"))
    draw.box(154, 14, 220, 172, "tint")
    draw.text(264, 36, ("one transaction", "uma transação"), "title", at="middle")
    draw.card(172, 50, 184, 50, ("your row", "sua linha"), ("INSERT INTO alunos",))
    draw.card(172, 114, 184, 54, ("the event", "o evento"), ("messaging_outbox",))
    draw.arrow((114, 92), (172, 76), kind="brand")
    draw.arrow((114, 110), (172, 140), kind="brand")
    draw.card(430, 114, 108, 54, "relay", (("a process", "um processo"),))
    draw.arrow((430, 130), (356, 130))
    draw.text(402, 122, ("reads", "lê"), "soft", at="middle")
    draw.arrow((430, 154), (356, 154), kind="brand")
    draw.text(402, 174, ("deletes", "apaga"), "soft", at="middle")
    draw.card(620, 114, 74, 54, "SNS")
    draw.arrow((538, 141), (620, 141), kind="brand", words=("publishes", "publica"))
    draw.text(
        430, 50, ("commit: both. rollback: neither.", "commit: os dois. rollback: nenhum."), "soft"
    )
    draw.text(
        430,
        70,
        ("The relay dies: it is sent again,", "O relay morre: é enviado de novo,"),
        "soft",
        room=268,
    )
    draw.text(430, 87, ("under the same id.", "com o mesmo id."), "soft")
    return draw


def idempotency(language: int) -> Drawing:
    """What happens to an event that comes twice."""
    draw = Drawing(700, 226, language)
    draw.card(6, 78, 120, 60, ("event", "evento"), ("envelope.id",))
    draw.arrow((126, 108), (170, 108), kind="brand")
    draw.card(
        170,
        70,
        170,
        76,
        ("already handled?", "já foi tratado?"),
        (("marks per service", "marcas por serviço"), ("and id", "e id")),
    )
    draw.arrow((255, 70), (255, 34), (396, 34))
    draw.text(262, 26, ("yes: a duplicate", "sim: uma duplicata"), "soft")
    draw.card(
        396,
        8,
        298,
        52,
        ("acknowledged", "confirmada"),
        (("the handler does not run", "o handler não roda"),),
    )
    draw.arrow((340, 108), (396, 108), kind="brand")
    draw.text(368, 100, ("no", "não"), "soft", at="middle")
    draw.box(396, 76, 298, 64, "tint")
    draw.text(545, 98, "Transactional", "mono", at="middle")
    draw.text(
        545,
        120,
        ("effect and mark in one transaction", "efeito e marca em uma transação"),
        "soft",
        at="middle",
        room=290,
    )
    draw.arrow((368, 108), (368, 184), (396, 184))
    draw.box(396, 152, 298, 64, "heat")
    draw.text(545, 174, "Idempotency", "mono", at="middle")
    draw.text(
        545,
        196,
        ("the effect, then the mark in a store", "o efeito, depois a marca no armazenamento"),
        "soft",
        at="middle",
        room=290,
    )
    return draw


def ownership(language: int) -> Drawing:
    """Whose is what, when each team has a repository."""
    draw = Drawing(700, 286, language)
    columns = (
        (6, ("producer's repository", "repo do produtor"), "Topology.producer"),
        (244, ("biblioteca's repository", "repo da biblioteca"), "Topology.of(Biblioteca)"),
        (482, ("portaria's repository", "repo da portaria"), "Topology.of(Portaria)"),
    )
    for x, title, code in columns:
        draw.box(x, 8, 212, 62)
        draw.text(x + 106, 32, title, "title", at="middle", room=208)
        draw.text(x + 106, 55, code, "mono", at="middle", room=208)
        draw.arrow((x + 106, 70), (x + 106, 108), kind="brand")
        draw.text(x + 114, 94, "apply", "mono")
        draw.box(x, 108, 212, 130, "tint")
    draw.text(112, 132, ("owns", "é dono de"), "title", at="middle")
    draw.text(112, 160, ("the topic alunos", "o tópico alunos"), "", at="middle")
    draw.text(
        112, 180, ("the contract of the events", "o contrato dos eventos"), "soft", at="middle"
    )
    for x, name in ((350, "biblioteca"), (588, "portaria")):
        draw.text(x, 132, ("owns", "é dono de"), "title", at="middle")
        draw.text(x, 156, f"alunos-{name}", "mono", at="middle")
        draw.text(x, 176, f"alunos-{name}-dlq", "mono", at="middle")
        draw.text(x, 196, f"…-{name}-undelivered", "mono", at="middle", room=208)
        draw.text(x, 220, ("its subscription", "a assinatura dela"), "soft", at="middle")
    draw.across(
        264,
        (
            "No apply changes what is another's, and none removes what its topology does not name.",
            "Nenhum apply muda o que é de outro, e nenhum remove o que a sua topologia não cita.",
        ),
    )
    return draw


def architecture(language: int) -> Drawing:
    """The packages of the library, on their floors."""
    draw = Drawing(700, 330, language)
    floors = (
        (("what people call", "o que se chama"), "cli · django · pytest_plugin", "card"),
        (("tests, laptops", "testes, laptops"), "testing · local", "card"),
        (
            ("around it", "em volta"),
            "fastapi · flask · metrics · tracing · doctor · export",
            "card",
        ),
        (
            ("what runs", "o que roda"),
            "runtime · aws · rabbitmq · memory · lambda_handler · csvfile",
            "tint",
        ),
        (("the map", "o mapa"), "topology · outbox · connecting", "tint"),
        (
            ("the two ways", "os dois caminhos"),
            "publishing · consuming · claimcheck · contract",
            "tint",
        ),
        (
            ("shared jobs", "tarefas comuns"),
            "projection · codec · settlement · idempotency",
            "tint",
        ),
        (("the words", "as palavras"), "event · envelope · outcome · transport · settings", "card"),
    )
    for number, (name, rooms, kind) in enumerate(floors):
        y = 6 + 37 * number
        draw.box(6, y, 640, 31, kind)
        draw.text(16, y + 20, name, "title", room=144)
        draw.text(166, y + 20, rooms, "mono", room=478)
    draw.arrow((668, 12), (668, 296), kind="brand")
    draw.text(
        6,
        322,
        (
            "Imports go down, never up; boto3 is known in aws alone.",
            "Os imports descem, nunca sobem; só aws conhece o boto3.",
        ),
        "soft",
    )
    return draw


def deployment(language: int) -> Drawing:
    """Where what runs, on AWS."""
    draw = Drawing(700, 316, language)
    draw.card(6, 96, 132, 62, ("producer", "produtor"), (("API, job, Lambda", "API, job, Lambda"),))
    draw.arrow((138, 127), (182, 127), kind="brand")
    draw.card(182, 96, 96, 62, "SNS", (("topic", "tópico"),), "tint")
    rows = (
        (
            26,
            "plataforma",
            ("ECS service", "serviço no ECS"),
            ("tasks of one image", "tasks de uma imagem"),
        ),
        (110, "financeiro", "Kubernetes", ("deployment, KEDA", "deployment, KEDA")),
        (194, "bi", "Lambda", ("event source mapping", "event source mapping")),
    )
    for y, service, place, detail in rows:
        draw.arrow((278, 127), (318, 127), (318, y + 26), (346, y + 26), kind="brand")
        draw.card(346, y, 120, 52, service, (("queue and DLQ", "fila e DLQ"),), "tint")
        draw.arrow((486, y + 26), (466, y + 26))
        draw.card(486, y, 208, 52, place, (detail,))
    draw.arrow((72, 158), (72, 216))
    draw.card(
        6,
        216,
        272,
        50,
        ("your database", "seu banco"),
        (("outbox, idempotency marks", "outbox, marcas de idempotência"),),
    )
    draw.text(
        6,
        20,
        ("from a pipeline, before the workers:", "em um pipeline, antes dos workers:"),
        "soft",
    )
    draw.text(6, 40, "messaging topology apply", "mono")
    draw.text(
        346,
        272,
        ("Each role: its own queue, and no keys.", "Cada papel: a sua fila, e nenhuma chave."),
        "soft",
        room=350,
    )
    draw.text(
        346,
        292,
        (
            "Alarms: oldest message, DLQ, undelivered.",
            "Alarmes: mensagem mais antiga, DLQ, undelivered.",
        ),
        "soft",
        room=350,
    )
    return draw


LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="7" fill="#0b6470"/>'
    '<g fill="none" stroke="#fff" stroke-width="2"><path d="M8 16h6"/>'
    '<path d="M14 16c4 0 3-9 9-9M14 16c4 0 5-3 9-3M14 16c4 0 5 3 9 3M14 16c4 0 3 9 9 9"/></g>'
    '<g fill="#fff"><circle cx="8" cy="16" r="3.4"/><circle cx="24" cy="7" r="2.2"/>'
    '<circle cx="24" cy="13" r="2.2"/><circle cx="24" cy="19" r="2.2"/>'
    '<circle cx="24" cy="25" r="2.2"/></g></svg>\n'
)
PICTURES: dict[str, Callable[[int], Drawing]] = {
    "fan-out": fan_out,
    "event": event,
    "lease": lease,
    "fifo": fifo,
    "circuit": circuit,
    "outbox": outbox,
    "idempotency": idempotency,
    "ownership": ownership,
    "architecture": architecture,
    "deployment": deployment,
}


def drawn() -> dict[Path, str]:
    """Each file, and what is to stand in it."""
    made = {FOLDERS[0] / "pictures.css": stylesheet(), FOLDERS[0] / "logo.svg": LOGO}
    for name, draw in PICTURES.items():
        for language, folder in enumerate(FOLDERS):
            made[folder / f"{name}.svg"] = draw(language).svg()
    return made


def social() -> None:
    """The picture of a shared link: it has to be a bitmap, so a browser draws it."""
    sentences = (
        (
            "One event,<br>several services,<br>each with its own fields",
            "Typed events over SNS and SQS, in Python",
        ),
        (
            "Um evento,<br>vários serviços,<br>cada um com os seus campos",
            "Eventos tipados por SNS e SQS, em Python",
        ),
    )
    letters = (FOLDERS[0] / "manrope.woff2").as_uri()
    for language, (folder, (title, below)) in enumerate(zip(FOLDERS, sentences, strict=True)):
        page = (
            "<!doctype html><meta charset=utf-8><style>@font-face{font-family:Manrope;"
            f"font-weight:200 800;src:url({letters})}}body,svg.picture{{font-family:Manrope}}body{{"
            "margin:0;width:1200px;height:630px;"
            "display:grid;grid-template-columns:1fr 1fr;gap:30px;align-items:center;padding:0 50px;"
            "box-sizing:border-box;background:#fff;color:#16282d}"
            "h1{font-size:46px;line-height:1.15;margin:24px 0}p{font-size:24px;color:#4a5d63}"
            f"svg{{width:100%}}.logo svg{{width:88px}}</style><div><div class=logo>{LOGO}</div>"
            f"<h1>{title}</h1><p>{below}</p></div><div>{fan_out(language).svg()}</div>"
        )
        with tempfile.TemporaryDirectory() as place:
            source = Path(place, "social.html")
            source.write_text(page)
            subprocess.run(
                [shutil.which("chromium") or "google-chrome", "--headless", "--no-sandbox",
                 "--disable-gpu", "--hide-scrollbars", "--force-prefers-reduced-motion",
                 f"--user-data-dir={place}/profile", "--window-size=1200,630",
                 f"--screenshot={folder / 'social.png'}", source.as_uri()],
                check=True, capture_output=True,
            )  # fmt: skip


def main(check: bool) -> None:
    for path, text in drawn().items():
        if check and (not path.exists() or path.read_text() != text):
            sys.exit(f"{path.relative_to(ROOT)} is old: run python tools/pictures.py")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--social"]:
            social()
        case [] | ["--check"] as given:
            main(check=bool(given))
        case _:
            sys.exit(__doc__)
