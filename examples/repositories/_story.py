"""The steps that the five teams take, in order."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from examples.repositories._teams import HERE, Done, Service, Team, Workshop

__all__ = ["Story"]

RELEASES = HERE / "releases"
PATIENCE = 30.0
"""Seconds within which a service must handle a published event."""
FINANCEIRO, BIBLIOTECA, PORTARIA = "financeiro", "biblioteca", "portaria"
CONSUMERS = {
    FINANCEIRO: "financeiro.servico:Financeiro",
    BIBLIOTECA: "biblioteca.servico:Biblioteca",
    PORTARIA: "portaria.servico:Portaria",
}
Expect = Callable[[str, str, object, object], None]


class Story:
    """Five teams and one server. `expect` gets the result of each step."""

    def __init__(self, workshop: Workshop, server: Mapping[str, str], expect: Expect) -> None:
        self._workshop = workshop
        self._environment = {**server, "MESSAGING_TOPIC": "alunos"}
        self._expect = expect
        self._running: dict[str, Service] = {}
        self._enrolled: dict[str, str] = {}
        self._since: dict[str, int] = {}
        names = ("contrato", "secretaria", FINANCEIRO, BIBLIOTECA)
        self._folders = {name: workshop.copy(name) for name in names}
        self._pythons = self._installed()
        self._teams = {
            name: Team(folder, self._pythons[name], self._environment)
            for name, folder in self._folders.items()
        }

    def play(self) -> None:
        """Run all steps."""
        self._own_tests()
        self._first_day()
        self._anothers_queue()
        self._fifth_service()
        self._check_names_who_breaks()
        self._producer_with_both_versions()
        self._service_with_the_new_version()
        self._producer_without_the_old_version()
        self._accounts()

    def kill(self) -> None:
        """Stop everything that still runs."""
        for service in self._running.values():
            service.kill()

    def _installed(self) -> dict[str, Path]:
        """Create an environment for each repository, and for each later release."""
        shop, folders = self._workshop, self._folders
        contrato = {
            version: shop.release(folders["contrato"], version, **files)
            for version, files in {
                "1.0": {},
                "1.1": {"eventos": RELEASES / "contrato_1_1.py"},
                "2.0": {"eventos": RELEASES / "contrato_2_0.py"},
                "2.1": {"eventos": RELEASES / "contrato_2_1.py"},
            }.items()
        }
        secretaria = shop.release(folders["secretaria"], "1.0")
        financeiro = shop.release(folders[FINANCEIRO], "1.0")
        newer = shop.release(folders[FINANCEIRO], "2.0", servico=RELEASES / "financeiro_2_0.py")
        return shop.environments(
            {
                "contrato": [],
                "secretaria": [secretaria, contrato["1.0"]],
                "secretaria 1.1": [secretaria, contrato["1.1"]],
                "secretaria 2.0": [secretaria, contrato["2.0"]],
                "secretaria 2.1": [secretaria, contrato["2.1"]],
                FINANCEIRO: [financeiro, contrato["1.0"]],
                "financeiro 2.0": [newer, contrato["2.1"]],
                BIBLIOTECA: [shop.release(folders[BIBLIOTECA], "1.0")],
            }
        )

    # The steps, in order.

    def _own_tests(self) -> None:
        for name, team in self._teams.items():
            self._expect(name, "its own tests", "1 passed", _passed(team.tests()))
        generate = ("contract", "generate", "catalogo.json", "--service", BIBLIOTECA)
        generate += ("-o", "biblioteca/eventos.py", "--check")
        check = self._teams[BIBLIOTECA].messaging(*generate)
        self._expect(BIBLIOTECA, "its views are the catalogue's", "exit code 0", _code(check))

    def _first_day(self) -> None:
        early = self._teams[BIBLIOTECA].messaging("topology", "apply")
        self._expect(BIBLIOTECA, "is deployed before the topic exists", "exit code 4", _code(early))
        for name in ("secretaria", FINANCEIRO, BIBLIOTECA):
            applied = self._teams[name].messaging("topology", "apply")
            self._expect(name, "applies its own topology", "exit code 0", _code(applied))
        for name in (FINANCEIRO, BIBLIOTECA):
            self._start(name)
        self._enrol("publishes", FINANCEIRO, BIBLIOTECA)

    def _anothers_queue(self) -> None:
        remove = ("topology", "remove", FINANCEIRO, "--yes", "--lose-messages")
        refused = self._teams[BIBLIOTECA].messaging(*remove)
        self._expect(BIBLIOTECA, "removes financeiro's queue", "refused", _refused(refused))
        self._enrol("publishes after that", FINANCEIRO, BIBLIOTECA)

    def _fifth_service(self) -> None:
        new = self._teams[BIBLIOTECA].messaging(
            *("new", "service", PORTARIA, "--event", "aluno.matriculado"),
            *("--into", str(self._folders[BIBLIOTECA].parent / PORTARIA)),
        )
        self._expect(PORTARIA, "is made by messaging new service", "exit code 0", _code(new))
        self._folders[PORTARIA] = folder = self._folders[BIBLIOTECA].parent / PORTARIA
        wheel = self._workshop.release(folder, "0.1.0")
        self._pythons |= self._workshop.environments({PORTARIA: [wheel]})
        self._teams[PORTARIA] = team = Team(folder, self._pythons[PORTARIA], self._environment)
        self._expect(PORTARIA, "its own tests", "1 passed", _passed(team.tests()))
        where = ("--topology", "portaria.servico:TOPOLOGY")
        applied = team.messaging("topology", "apply", *where)
        self._expect(PORTARIA, "applies its own topology", "exit code 0", _code(applied))
        self._start(PORTARIA)
        deaf = "portaria is told nothing"
        self._expect("secretaria", "asks messaging doctor", deaf, self._doctor())
        self._deploy("secretaria", "secretaria 1.1")
        self._expect("secretaria", "asks again, with contrato 1.1", "all are told", self._doctor())
        self._enrol("publishes with contrato 1.1", FINANCEIRO, BIBLIOTECA, PORTARIA)

    def _check_names_who_breaks(self) -> None:
        self._next("1.1")
        self._propose("turma is called curso, unannounced", "contrato_hasty.py", "financeiro")
        self._propose("contrato 2.0, with financeiro pinned to 1", "contrato_2_0.py", "nobody")

    def _producer_with_both_versions(self) -> None:
        everybody = (FINANCEIRO, BIBLIOTECA, PORTARIA)
        self._deploy("secretaria", "secretaria 2.0")
        self._enrol("publishes version 2, financeiro pinned to 1", *everybody)
        self._deploy("secretaria", "secretaria 1.1")
        self._enrol("is rolled back to version 1", *everybody)
        self._deploy("secretaria", "secretaria 2.0")
        self._enrol("publishes version 2 again", *everybody)

    def _service_with_the_new_version(self) -> None:
        for python, what in (
            ("financeiro 2.0", "publishes to financeiro of version 2"),
            (FINANCEIRO, "publishes to financeiro that was rolled back"),
            ("financeiro 2.0", "publishes to financeiro of version 2 again"),
        ):
            self._deploy(FINANCEIRO, python)
            self._enrol(what, FINANCEIRO, BIBLIOTECA, PORTARIA)

    def _producer_without_the_old_version(self) -> None:
        # The forward check fails by design: financeiro had to be deployed first, and has been.
        self._next("2.0")
        self._propose("contrato 2.1, without the pin", "contrato_2_1.py", "nobody", "backward")
        for python, what in (
            ("secretaria 2.1", "publishes version 2 to all"),
            ("secretaria 2.0", "is rolled back to the pinned view"),
            ("secretaria 2.1", "publishes version 2 to all again"),
        ):
            self._deploy("secretaria", python)
            self._enrol(what, FINANCEIRO, BIBLIOTECA, PORTARIA)

    def _accounts(self) -> None:
        for name in (FINANCEIRO, BIBLIOTECA, PORTARIA):
            self._stop(name)
            sent = len(self._enrolled) - self._since[name]
            came = f"{len(self._seen(name) & set(self._enrolled))} handled"
            self._expect(name, "of what was published to it", f"{sent} handled", came)
        accounts = self._teams[FINANCEIRO].data / "contas.sqlite3"
        with closing(sqlite3.connect(accounts)) as database:
            found = dict(database.execute("select id, curso from contas"))
        same = "all" if found == self._enrolled else "not all"
        self._expect(FINANCEIRO, "accounts with the course that was published", "all", same)

    # Helpers of the steps.

    def _start(self, name: str) -> None:
        self._since.setdefault(name, len(self._enrolled))
        self._running[name] = self._teams[name].start(CONSUMERS[name])

    def _stop(self, name: str) -> None:
        stats = self._running[name].stop()
        right = 0 < stats.get("received", 0) == stats["acknowledged"]
        came = "all acknowledged" if right else str(stats)
        self._expect(name, "is stopped", "all acknowledged", came)

    def _deploy(self, name: str, release: str) -> None:
        """Switch a repository to another of its releases; a running service is restarted."""
        if name in self._running:
            self._stop(name)
        self._teams[name] = self._teams[name].deployed(self._pythons[release])
        if name in self._running:
            self._start(name)

    def _enrol(self, what: str, *services: str) -> None:
        """Publish one student, and wait until each of `services` has handled it."""
        number = f"2026-{len(self._enrolled) + 1:04}"
        enrol = ("secretaria.matricula", number, "Ana Sá", "ENEM", "900.00")
        done = self._teams["secretaria"].python_m(*enrol)
        if done.code:
            self._expect("secretaria", what, "exit code 0", f"{_code(done)}: {done.err[-300:]}")
            return
        self._enrolled[number] = "ENEM"
        missing = set(services)
        deadline = time.monotonic() + PATIENCE
        while missing and time.monotonic() < deadline:
            time.sleep(0.05)
            missing = {name for name in missing if number not in self._seen(name)}
            if any(self._running[name].ended for name in missing):
                break
        came = ", ".join(name for name in services if name not in missing)
        self._expect("secretaria", what, f"reaches {', '.join(services)}", f"reaches {came}")

    def _seen(self, name: str) -> set[str]:
        """The student numbers that a service has handled."""
        if name == PORTARIA:  # as it was written for it, it logs
            return set(re.findall(r"aluno\.matriculado (2026-\d{4})", self._running[name].log))
        table = {FINANCEIRO: "contas", BIBLIOTECA: "leitores"}[name]
        path = self._teams[name].data / f"{table}.sqlite3"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                return {number for (number,) in database.execute(f"select id from {table}")}
        except sqlite3.OperationalError:
            return set()  # still starting: no file, or no table in it

    def _doctor(self) -> str:
        """The services that get no event, as `messaging doctor` reports to the producer."""
        asked = self._teams["secretaria"].messaging("doctor", "escola_contrato.eventos", "--json")
        deaf = {one["service"] for one in asked.lines if one.get("breaks")}
        return f"{', '.join(sorted(deaf))} is told nothing" if deaf else "all are told"

    def _next(self, version: str) -> None:
        """The contract repository commits a release, with its catalogue and all needs."""
        contrato, folder = self._teams["contrato"], self._folders["contrato"]
        released = RELEASES / f"contrato_{version.replace('.', '_')}.py"
        (folder / "escola_contrato" / "eventos.py").write_text(released.read_text())
        export = ("contract", "export", "escola_contrato.eventos", "--topic", "alunos")
        done = contrato.messaging(*export, "-o", "catalogo.json")
        self._expect("contrato", f"exports the catalogue of {version}", "exit code 0", _code(done))
        for name in (FINANCEIRO, BIBLIOTECA, PORTARIA):
            place = str(folder / "needs" / f"{name}.json")
            done = self._teams[name].messaging("contract", "needs", CONSUMERS[name], "-o", place)
            self._expect(name, "writes down what it reads", "exit code 0", _code(done))

    def _propose(self, what: str, release: str, breaks: str, mode: str = "full") -> None:
        """Check a proposed release against the catalogue and the needs."""
        folder = self._folders["contrato"]
        (folder / "proposta.py").write_text((RELEASES / release).read_text())
        done = self._teams["contrato"].messaging(
            *("contract", "check", "catalogo.json", "proposta"),
            *("--topic", "alunos", "--needs", "needs", "--mode", mode, "--json"),
        )
        named = sorted({one["service"] for one in done.lines if one["breaks"]})
        came = f"breaks {', '.join(named) or 'nobody'}, {_code(done)}"
        expected = f"breaks {breaks}, exit code {int(breaks != 'nobody')}"
        self._expect("contrato", f"checks: {what}", expected, came)


def _code(done: Done) -> str:
    return f"exit code {done.code}"


def _passed(done: Done) -> str:
    found = re.search(r"\d+ passed", done.out)
    return found[0] if found and done.code == 0 else done.out[-500:] + done.err[-500:]


def _refused(done: Done) -> str:
    named = "equipe-financeiro" in done.err + done.out
    return "refused" if done.code == 1 and named else f"{_code(done)}: {done.err[-300:]}"
