"""A function with Powertools' logger and tracer, as the page on Lambda writes it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "how-to" / "lambda.md"
TRACE = "1-5759e988-bd862e3fe1be46a994272793"
INVOKED = """
class Context:
    function_name, memory_limit_in_mb, aws_request_id = "biblioteca", 128, "request-1"
    invoked_function_arn = "arn:aws:lambda:sa-east-1:123456789012:function:biblioteca"

    def get_remaining_time_in_millis(self):
        return 60_000


class Nervosa(Biblioteca):
    service = "biblioteca"

    @handles
    def carteirinha(self, aluno: AlunoCadastrado) -> None:
        logger.info("card")
        if aluno.nome != "Ana":
            raise KeyError(aluno.nome)


handle = lambda_handler(Nervosa(), middleware=middleware)
events = lambda_event(Nervosa, AlunoCadastrado(nome="Ana"), AlunoCadastrado(nome="Segredo"))
print(json.dumps([[one["messageId"] for one in events["Records"]], funcao(events, Context())]))
"""


def written() -> str:
    """The page's blocks that define the consumer and the function."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    wanted = [one for one in blocks if "class Biblioteca" in one or "Powertools" in one
              or "aws_lambda_powertools" in one]  # fmt: skip
    first = "import json\nfrom messaging.lambda_handler import lambda_handler\n"
    return "\n".join((first, *wanted, INVOKED))


def invoked(**more: str) -> tuple[list[Any], list[dict[str, Any]], str]:
    """What the function answered, the lines that it logged, and all its output."""
    done = subprocess.run(
        [sys.executable, "-c", written()],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    [answer] = [one for one in lines if isinstance(one, list)]
    return answer, [one for one in lines if isinstance(one, dict)], done.stdout + done.stderr


def test_lines_carry_the_ids_and_the_librarys_are_json_too() -> None:
    (ids, answer), lines, everything = invoked()
    assert answer == {"batchItemFailures": [{"itemIdentifier": ids[1]}]}
    cards = [one for one in lines if one["message"] == "card"]
    assert [one["message_id"] for one in cards] == ids
    assert all(one["event_type"] == "aluno.cadastrado" and one["event_id"] for one in cards)
    assert all(one["function_request_id"] == "request-1" for one in cards)
    [warned] = [one for one in lines if one["name"].startswith("messaging.")]
    assert "KeyError" in warned["message"]
    assert "Segredo" not in everything


def test_xray_has_a_part_for_each_message_and_nothing_personal() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:  # where X-Ray's would listen
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(20)
        invoked(
            LAMBDA_TASK_ROOT="/var/task",
            AWS_LAMBDA_FUNCTION_NAME="biblioteca",
            _X_AMZN_TRACE_ID=f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1",
            AWS_XRAY_DAEMON_ADDRESS=f"127.0.0.1:{daemon.getsockname()[1]}",
        )
        texts = [daemon.recv(65_536).decode() for _ in range(3)]
    parts = [json.loads(text.partition("\n")[2]) for text in texts]
    names = [(one["name"], one.get("fault", False)) for one in parts]
    assert names == [("## carteirinha", False), ("## carteirinha", True), ("## funcao", False)]
    assert {one["trace_id"] for one in parts} == {TRACE}
    assert all(one["parent_id"] == parts[2]["id"] for one in parts[:2])
    assert "Segredo" not in "".join(texts)
