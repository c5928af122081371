"""`messaging publish`: good rows go out, bad ones are set aside, and nothing is lost between."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from messaging.cli.sending import SentRows, send
from messaging.csvfile import EventRow, Mapping, events_from
from messaging.errors import TransportError
from messaging.testing import RecordingTopic
from messaging.transport import Failure, Outgoing
from tests.cli.conftest import Run, load_school

Start = Callable[..., "subprocess.Popen[str]"]

ROWS = "Nome;E-mail;Fee;Sala\nAna;ana@example.com;10;1\n;bia@example.com;20;2\nCaio;c@x.com;dez;3\n"
MAP = '[columns]\n"E-mail" = "email"\n'


@pytest.fixture
def students(project: Path) -> Path:
    """Three rows: one good, one without a name, one whose fee is a word."""
    file = project / "alunos.csv"
    file.write_text(ROWS, encoding="cp1252")
    (project / "map.toml").write_text(MAP)
    return file


def depths(messaging: Run) -> dict[str, int]:
    said = json.loads(messaging("status", "--json").stdout)
    return {one["service"]: one["visible"] for one in said["queues"]}


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


OPTIONS = ("alunos.csv", "--map", "map.toml", "--column", "Nome=name")


@pytest.mark.usefixtures("students")
def test_good_rows_are_published_and_bad_ones_set_aside(messaging: Run, project: Path) -> None:
    messaging("topology", "apply")
    done = messaging("publish", *OPTIONS, "--json")
    assert done.returncode == 0
    said = summary(done)
    assert (said["published"], said["rejected"], said["copies"]) == (1, 2, 2)
    assert said["ignored"] == ["Sala"]
    assert said["resume_from"] is None
    assert depths(messaging) == {"mail": 1, "books": 1}
    with (project / "alunos.rejeitados.csv").open(encoding="utf-8-sig") as file:
        aside = list(csv.DictReader(file, delimiter=";"))
    assert [(row["linha"], row["coluna"]) for row in aside] == [("3", "Nome"), ("4", "Fee")]
    assert said["rejects"].endswith("alunos.rejeitados.csv")
    assert "dez" not in done.stderr + done.stdout


@pytest.mark.usefixtures("students")
def test_strict_makes_bad_rows_a_failure(messaging: Run) -> None:
    done = messaging("publish", *OPTIONS, "--strict", "--dry-run")
    assert done.returncode == 1
    assert "2 bad rows" in done.stderr


@pytest.mark.usefixtures("students")
def test_a_dry_run_needs_nobody(messaging: Run) -> None:
    done = messaging(
        "publish", *OPTIONS, "--dry-run", "--json", AWS_ENDPOINT_URL="http://127.0.0.1:9"
    )
    assert done.returncode == 0
    said = summary(done)
    assert (said["published"], said["dry_run"]) == (1, True)


def test_defaults_come_from_the_project_and_the_command_line(messaging: Run, project: Path) -> None:
    (project / "alunos.csv").write_text("name\nAna\nBia\n")
    with (project / "pyproject.toml").open("a") as file:
        file.write("[tool.messaging.csv]\ndefaults = { email = '@uuid:name', fee = '7' }\n")
    done = messaging("publish", "alunos.csv", "--dry-run", "--json")
    assert summary(done)["published"] == 2
    worse = messaging("publish", "alunos.csv", "--default", "fee=x", "--dry-run", "--json")
    assert worse.returncode != 0 or summary(worse)["rejected"] == 2


def test_standard_input_is_read(project: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "messaging", "publish", "-", "--dry-run", "--json"],
        cwd=project,
        env=environment,
        input="name,email\nAna,ana@example.com\n,x\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert summary(done)["published"] == 1
    assert (project / "stdin.rejeitados.csv").exists()


@pytest.mark.usefixtures("students")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv"], "nowhere.csv: No such file"),
        (["alunos.csv", "--map", "no.toml"], "--map no.toml: No such file"),
        (["alunos.csv", "--column", "Nome"], "--column 'Nome': write COLUMN=FIELD"),
        (["alunos.csv", "--default", "=x"], "--default '=x': write FIELD=VALUE"),
        (["alunos.csv", "--column", "Nome=nome"], "nome"),
        (["alunos.csv", "--event", "school:Mail"], "an Event class"),
        (["alunos.csv"], "no column for name"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_sent(
    messaging: Run, arguments: list[str], said: str
) -> None:
    done = messaging("publish", *arguments, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_without_header_shows_nobodys_data(messaging: Run, project: Path) -> None:
    (project / "semcabecalho.csv").write_text("Zuleica;zuleica@example.org;497.501.283-97\n")
    done = messaging("publish", "semcabecalho.csv", "--dry-run")
    assert done.returncode == 2
    assert "its first line is no header" in done.stderr
    for value in ("Zuleica", "zuleica@", "497.501"):
        assert value not in done.stdout + done.stderr


def test_a_columns_name_forges_no_line(messaging: Run, project: Path) -> None:
    (project / "map.toml").write_text('[columns]\n"E-mail" = "email"\n"Nome" = "name"\n')
    (project / "h.csv").write_bytes(
        b'Nome;E-mail;"Sala\r\nerror: forged\x1b[31m";Fee\nAna;ana@example.com;1;2\n'
    )
    done = messaging("publish", "h.csv", "--map", "map.toml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "forged" in done.stderr
    for line in (done.stdout + done.stderr).split("\n"):
        assert line.isprintable()
        assert not line.startswith("error: forged")


@pytest.mark.usefixtures("students")
def test_the_side_file_is_never_the_file_itself(messaging: Run, project: Path) -> None:
    (project / "same.csv").symlink_to("alunos.csv")
    before = (project / "alunos.csv").read_bytes()
    for name in ("alunos.csv", "same.csv"):
        done = messaging("publish", *OPTIONS, "--dry-run", "--rejects", name)
        assert done.returncode == 2
        assert f"--rejects {name}: that is the file to be read" in done.stderr
    assert (project / "alunos.csv").read_bytes() == before


@pytest.mark.usefixtures("students")
def test_a_side_file_that_cannot_be_written_is_named(messaging: Run) -> None:
    done = messaging("publish", *OPTIONS, "--dry-run", "--rejects", "nowhere/bad.csv")
    assert done.returncode == 1
    assert "the side file for bad rows, nowhere/bad.csv: No such file" in done.stderr


def test_a_reason_that_is_the_same_for_many_lines_is_told_once(
    messaging: Run, project: Path
) -> None:
    rows = "".join(f"Ana,ana{number}@example.com\n" for number in range(12))
    (project / "alunos.csv").write_text(f"name,email\n{rows}")
    done = messaging("publish", "alunos.csv", MESSAGING_PREFIX="nobody-made-these-")
    assert done.returncode == 1
    assert "line 2 and 11 more were not accepted: NotFound: " in done.stderr
    assert done.stderr.count("NotFound") < 5


def test_no_event_is_told(messaging: Run, project: Path) -> None:
    (project / "pyproject.toml").unlink()
    done = messaging("publish", "alunos.csv")
    assert done.returncode == 2
    assert "which event? Give --event" in done.stderr


def test_a_row_that_no_topic_takes_is_named_and_the_others_go_on(
    messaging: Run, project: Path
) -> None:
    big = "x" * 2000
    (project / "alunos.csv").write_text(f"name,email\nAna,a@x.com\n{big},b@x.com\nCaio,c@x.com\n")
    done = messaging("publish", "alunos.csv", "--json", "--dry-run", MESSAGING_MAX_BYTES="1024")
    assert done.returncode == 1
    said = summary(done)
    assert said["published"] == 2
    assert [(one["line"], one["code"]) for one in said["refused"]] == [(3, "EventTooLarge")]
    assert "line 3 was not accepted: EventTooLarge" in done.stderr
    assert "xxxx" not in done.stdout + done.stderr


def test_publishing_goes_on_from_a_line(messaging: Run, project: Path) -> None:
    (project / "alunos.csv").write_text("name,email\nAna,a@x.com\nBia,b@x.com\nCaio,c@x.com\n")
    done = messaging("publish", "alunos.csv", "--json", "--dry-run", "--resume-from", "3")
    assert summary(done)["published"] == 2


def test_a_missing_topic_is_one_message(messaging: Run, project: Path) -> None:
    (project / "alunos.csv").write_text("name,email\nAna,a@x.com\nBia,b@x.com\n")
    done = messaging("publish", "alunos.csv")
    assert done.returncode == 1
    assert "messaging topology apply" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_leaves_the_side_file_that_a_person_corrected(
    messaging: Run, project: Path
) -> None:
    (project / "alunos.csv").write_text("name,email\nAna,a@x.com\nBia,\n")
    corrected = project / "alunos.rejeitados.csv"
    corrected.write_text("linha,coluna,motivo,name,email\n3,email,vazio,Bia,bia@x.com\n")
    before = corrected.read_bytes()
    for number in (2, 3):
        done = messaging("publish", "alunos.csv", "--dry-run", "--json")
        assert summary(done)["rejects"] == f"alunos.rejeitados-{number}.csv"
    done = messaging("publish", "alunos.csv", "--dry-run", "--rejects", "alunos.rejeitados.csv")
    assert "alunos.rejeitados-4.csv" in done.stderr
    assert corrected.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name,email\n", "the file has no rows below its header"),
        ("name,email\nAna,\n", "1 bad rows"),
    ],
)
def test_nothing_published_is_a_failure_unless_it_is_allowed(
    messaging: Run, project: Path, content: str, told: str
) -> None:
    (project / "alunos.csv").write_text(content)
    done = messaging("publish", "alunos.csv", "--dry-run")
    assert done.returncode == 1
    assert told in done.stderr
    assert messaging("publish", "alunos.csv", "--dry-run", "--allow-none").returncode == 0


def test_reasons_and_what_is_told_are_in_the_language_of_the_locale(
    messaging: Run, project: Path
) -> None:
    (project / "alunos.csv").write_bytes(
        "name,email,fee,x\nJoão,a@x.com,1,\nAna,não,dez,\nJoão,a@x.com,1\n".encode("cp850")
    )
    done = messaging("publish", "alunos.csv", "--dry-run", LANG="pt_BR.UTF-8", LC_ALL="")
    assert done.returncode == 0
    assert "lido como cp850 (linhas 2, 3, 4)" in done.stderr
    assert "linhas que o arquivo já tem" in done.stderr
    assert "1 linhas recusadas" in done.stderr
    with (project / "alunos.rejeitados.csv").open(encoding="utf-8-sig") as file:
        (row,) = csv.DictReader(file)
    assert (row["linha"], row["coluna"], row["motivo"]) == ("3", "fee", "não é um número inteiro")
    said = summary(messaging("publish", "alunos.csv", "--dry-run", "--json", "--language", "en"))
    assert [(one["code"], one["lines"]) for one in said["notices"]] == [
        ("codepage", [2, 3, 4]),
        ("short", [4]),
        ("repeated", [4]),
    ]
    worse = messaging("publish", "alunos.csv", "--dry-run", "--language", "fr", COLUMNS="200")
    assert worse.returncode == 2
    assert "--language" in worse.stderr
    assert "'fr' is not one of 'en', 'pt'" in worse.stderr


def test_a_file_is_mapped_from_the_command_line_alone(messaging: Run, project: Path) -> None:
    (project / "alunos.csv").write_text("Ana;Sá;a@x.com;-\nBia;Lima;b@x.com;7\n")
    done = messaging(
        *("publish", "alunos.csv", "--dry-run", "--json", "--no-header", "--empty", "-"),
        *("--column", "#1+#2=name", "--column", "#3=email", "--column", "#4=fee"),
    )
    assert summary(done)["published"] == 2, done.stderr
    assert summary(done)["rejected"] == 0
    for wrong, said in (
        (("--date-order", "ymd"), "date_order='ymd': use"),
        (("--date-order", "dmy", "--date-order", "x=mdy"), "--date-order: give one for all"),
        (("--event-ids", "rows"), "'rows' is not one of 'data', 'cells'"),
    ):
        done = messaging("publish", "alunos.csv", "--dry-run", *wrong, COLUMNS="200")
        assert done.returncode == 2
        assert said in done.stderr


def test_a_corrected_mapping_is_no_repetition(tmp_path: Path) -> None:
    school = load_school()
    file = tmp_path / "alunos.csv"
    file.write_text("name;email;Mensalidade\nAna;ana@x.com;890\n")

    def publish(**mapping: Any) -> list[str]:
        topic = RecordingTopic()
        send(
            file,
            school.Enrolled,
            Mapping(**mapping),
            topic,
            source="/office",
            rejects=tmp_path / "bad.csv",
            resume_from=1,
        )
        return [one.id for one in topic.events]

    without = publish()
    corrected = publish(columns={"Mensalidade": "fee"})
    assert len({*without, *corrected}) == 2
    assert corrected == publish(columns={"mensalidade": "fee"})
    assert publish(event_ids="cells") == publish(event_ids="cells", columns={"Mensalidade": "fee"})


class _Tired(RecordingTopic):
    """Takes three requests, then no longer answers."""

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        if len(self.copies) >= 30:
            raise TransportError("nobody answers", code="Gone", retryable=False)
        return super().publish(batch)


def test_a_topic_that_stops_answering_leaves_a_line_to_go_on_from(tmp_path: Path) -> None:
    school = load_school()
    file = tmp_path / "alunos.csv"
    rows = [f"A{number},a{number}@x.com\n" for number in range(100)]
    file.write_text("name,email\n" + "".join(rows[:50]) + ",x@x.com\n" + "".join(rows[50:]))

    def publish(topic: RecordingTopic, line: int) -> SentRows:
        return send(
            file,
            school.Enrolled,
            Mapping(),
            topic,
            source="/office",
            rejects=tmp_path / "bad.csv",
            resume_from=line,
        )

    first = _Tired()
    broken = publish(first, 1)
    assert broken.broken
    assert broken.resume_from is not None
    assert broken.refused[0].code == "Gone"
    second = RecordingTopic()
    rest = publish(second, broken.resume_from)
    assert (rest.broken, rest.refused, rest.resume_from) == ("", (), None)
    assert rest.rejected == 1
    assert {one.id for one in first.events} | {one.id for one in second.events} == {
        row.id for row in events_from(file, school.Enrolled) if isinstance(row, EventRow)
    }
    assert len(second.events) < 100


def test_ctrl_c_finishes_what_is_under_way_and_says_how_to_go_on(
    started: Start, messaging: Run, project: Path
) -> None:
    messaging("topology", "apply")
    fifo = project / "alunos.csv"
    os.mkfifo(fifo)
    process = started("publish", "alunos.csv", "--json")
    with fifo.open("w") as rows:
        rows.write("name,email\n" + "".join(f"A{n},a{n}@x.com\n" for n in range(30)))
        rows.flush()
        deadline = time.monotonic() + 30
        while depths(messaging)["mail"] == 0 and time.monotonic() < deadline:
            pass  # each look is a process of its own: no busy loop
        process.send_signal(signal.SIGINT)
        rows.write("Zoe,z@x.com\n" * 5000)
    printed, heard = process.communicate(timeout=30)
    assert process.returncode == 130, heard
    said = json.loads(printed)
    assert said["interrupted"] is True
    assert 0 < said["published"] < 5030
    assert said["resume_from"] == said["published"] + 2, "the header is line 1"
    assert depths(messaging)["mail"] == said["published"]


def test_a_person_sees_a_bar_and_a_script_does_not(
    messaging: Run, project: Path, environment: dict[str, str]
) -> None:
    messaging("topology", "apply")
    (project / "alunos.csv").write_text("name,email\n" + "Ana,a@x.com\n" * 300)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "messaging", "publish", "alunos.csv", "--json"],
        cwd=project,
        env=environment | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:
        pass  # how a terminal says that the other side is gone
    assert process.stdout is not None
    assert json.loads(process.stdout.read())["published"] == 300
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    os.close(ours)
    assert re.search(rb"publishing.*\d+ accepted", seen)
    assert "publishing" not in messaging("publish", "alunos.csv").stderr
