"""The example's own tests, the commands called from code, and a machine without Django."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.django.conftest import ROOT, DjangoProject


def test_the_example_s_tests_pass(project: DjangoProject) -> None:
    done = project.manage("test", "--noinput")
    assert done.returncode == 0, done.stderr
    assert "Ran 5 tests" in done.stderr


def test_commands_are_called_from_code(
    lite_project: DjangoProject, capsys: pytest.CaptureFixture[str]
) -> None:
    from django.core.management import call_command

    rows = lite_project.folder / "alunos.csv"
    rows.write_text("aluno_id;nome;cpf\n1;Ana;111\n2;Bia\n")
    call_command("messaging_publish", str(rows), dry_run=True, json=True)
    sent: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (sent["published"], sent["rejected"]) == (1, 1)
    with pytest.raises(SystemExit) as ended:
        call_command("messaging_publish", str(rows), dry_run=True, strict=True, column=["a=b"])
    assert ended.value.code != 0


def test_without_django_the_app_says_which_extra_it_needs() -> None:
    code = "import sys; sys.modules['django'] = None; import messaging.django"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "messaging.errors.MissingExtra: messaging.django needs Django, which is not installed; "
        'run: pip install "messaging-sns-sqs[django]"'
    )
