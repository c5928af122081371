"""The template: linted, and each role may do what its function does and no more."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from examples.cadastro.chamada_api import ChamadaAPI

TEMPLATE = Path(__file__).parents[2] / "examples" / "cadastro" / "template.yaml"


@pytest.fixture(scope="module")
def recursos() -> Any:
    return cfn_yaml.load(str(TEMPLATE))["Resources"]


def do_tipo(recursos: Any, tipo: str) -> dict[str, Any]:
    return {nome: um["Properties"] for nome, um in recursos.items() if um["Type"] == tipo}


def permissoes(papel: Any) -> Iterator[tuple[list[str], Any]]:
    for politica in papel["Policies"]:
        for uma in politica["PolicyDocument"]["Statement"]:
            acoes = uma["Action"]
            yield [acoes] if isinstance(acoes, str) else list(acoes), uma["Resource"]


def test_cfn_lint_has_nothing_to_say() -> None:
    dito = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", "sa-east-1", "--", TEMPLATE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (dito.returncode, dito.stdout, dito.stderr) == (0, "", "")


def test_every_function_has_a_role_of_its_own(recursos: Any) -> None:
    papeis = [str(um["Role"]) for um in do_tipo(recursos, "AWS::Lambda::Function").values()]
    assert len(papeis) == len(set(papeis)) == 3


def test_no_role_may_do_everything_or_anywhere(recursos: Any) -> None:
    for nome, papel in do_tipo(recursos, "AWS::IAM::Role").items():
        assert "ManagedPolicyArns" not in papel
        for acoes, onde in permissoes(papel):
            assert not [uma for uma in acoes if "*" in uma], nome
            assert "*" not in ([onde] if isinstance(onde, str) else onde), nome


@pytest.mark.parametrize(
    ("papel", "pode"),
    [
        (
            "UrlAssinadaRole",
            {"s3:PutObject", "s3:GetObject", "s3:ListBucket"},
        ),
        (
            "BatchRole",
            {
                "s3:GetObject",
                "s3:PutObject",
                "s3:ListBucket",
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
                "sqs:GetQueueUrl",
                "sqs:SendMessage",
            },
        ),
        (
            "ChamadaRole",
            {
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
                "sqs:GetQueueUrl",
                "sqs:SendMessage",
            },
        ),
        ("ApiRole", {"sns:Publish"}),
    ],
)
def test_what_each_may_do(recursos: Any, papel: str, pode: set[str]) -> None:
    todas = {uma for acoes, _ in permissoes(recursos[papel]["Properties"]) for uma in acoes}
    assert todas - {"logs:CreateLogStream", "logs:PutLogEvents"} == pode


def test_of_what_is_uploaded_only_two_folders_can_be_written_by_the_signer(recursos: Any) -> None:
    onde = [
        str(onde)
        for acoes, onde in permissoes(recursos["UrlAssinadaRole"]["Properties"])
        if "s3:PutObject" in acoes
    ]
    # The second is what it writes itself, into the bucket that nobody outside may write to.
    assert len(onde) == 2
    assert "${Balde.Arn}/enviados/*" in onde[0]
    assert "${Balde.Arn}/conferir/*" in onde[0]
    assert "${BaldeResultados.Arn}/relatorios/*" in onde[1]
    assert "${BaldeResultados.Arn}/envios/*" in onde[1]


def test_every_mapping_reports_what_failed(recursos: Any) -> None:
    """Or Lambda would delete the whole batch, whatever the handler answers."""
    ligacoes = do_tipo(recursos, "AWS::Lambda::EventSourceMapping")
    assert len(ligacoes) == 2
    for uma in ligacoes.values():
        assert uma["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize(("fila", "funcao"), [("BatchQueue", "Batch"), ("ChamadaQueue", "Chamada")])
def test_a_queue_hides_for_six_times_the_functions_timeout(
    recursos: Any, fila: str, funcao: str
) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    tempo = recursos[funcao]["Properties"]["Timeout"]
    assert recursos[fila]["Properties"]["VisibilityTimeout"] == 6 * tempo


def test_a_queue_gives_a_message_as_many_chances_as_its_consumer_says(recursos: Any) -> None:
    redrive = recursos["ChamadaQueue"]["Properties"]["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == ChamadaAPI.max_receives


def test_the_names_that_lambda_calls_are_there(recursos: Any) -> None:
    for funcao in do_tipo(recursos, "AWS::Lambda::Function").values():
        modulo, _, nome = funcao["Handler"].rpartition(".")
        assert callable(getattr(importlib.import_module(modulo), nome))


def test_buckets_are_closed_and_forget(recursos: Any) -> None:
    baldes = do_tipo(recursos, "AWS::S3::Bucket")
    assert len(baldes) == 2
    for um in baldes.values():
        assert set(um["PublicAccessBlockConfiguration"].values()) == {True}
        assert um["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] <= 30
