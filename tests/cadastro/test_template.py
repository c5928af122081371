"""The template: linted, and each role may do what its function does and no more."""

from __future__ import annotations

import importlib
import json
import marshal
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.chamada_api import ChamadaAPI
from examples.cadastro.custo import parcelas, tabela
from examples.cadastro.pacote import PACOTES, com_dependencias, compilar, comprimir
from examples.cadastro.painel.aplicacao import criar
from examples.cadastro.painel.vista import Vista
from tests.cadastro.cliente import Cliente

PASTA = Path(__file__).parents[2] / "examples" / "cadastro"
TEMPLATE = PASTA / "template.yaml"
TODOS = [TEMPLATE, PASTA / "rede.yaml", PASTA / "pagina.yaml"]


@pytest.fixture(scope="module")
def recursos() -> Any:
    return cfn_yaml.load(str(TEMPLATE))["Resources"]


def do_tipo(recursos: Any, tipo: str) -> dict[str, Any]:
    return {nome: um["Properties"] for nome, um in recursos.items() if um["Type"] == tipo}


def permissoes(papel: Any) -> Iterator[tuple[list[str], Any]]:
    for politica in papel.get("Policies", []):
        for dita in politica["PolicyDocument"]["Statement"]:
            uma = dita["Fn::If"][1] if "Fn::If" in dita else dita
            acoes = uma["Action"]
            yield [acoes] if isinstance(acoes, str) else list(acoes), uma["Resource"]


def test_cfn_lint_has_nothing_to_say() -> None:
    dito = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--regions", "sa-east-1", "--", *TODOS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (dito.returncode, dito.stdout, dito.stderr) == (0, "", "")


def test_every_function_has_a_role_of_its_own(recursos: Any) -> None:
    papeis = [str(um["Role"]) for um in do_tipo(recursos, "AWS::Lambda::Function").values()]
    assert len(papeis) == len(set(papeis)) == 3


@pytest.mark.parametrize("template", TODOS, ids=lambda um: um.name)
def test_no_role_may_do_everything_or_anywhere(template: Path) -> None:
    papeis = do_tipo(cfn_yaml.load(str(template))["Resources"], "AWS::IAM::Role")
    for nome, papel in papeis.items():
        assert "ManagedPolicyArns" not in papel
        for acoes, onde in permissoes(papel):
            assert not [uma for uma in acoes if "*" in uma], nome
            if acoes != ["ecr:GetAuthorizationToken"]:  # a call that knows no resource
                assert "*" not in ([onde] if isinstance(onde, str) else onde), nome


def test_another_version_of_the_code_updates_every_function(recursos: Any) -> None:
    for funcao in do_tipo(recursos, "AWS::Lambda::Function").values():
        assert str(funcao["Code"]["S3ObjectVersion"]) == str({"Ref": "VersaoPacote"})


def test_each_container_is_given_what_it_asks_for(tmp_path: Path) -> None:
    """The settings of rede.yaml are ones that the parts read, and they lack none."""
    rede = cfn_yaml.load(str(PASTA / "rede.yaml"))["Resources"]
    for tarefa, paginas in (("ApiTarefa", None), ("SecretariaTarefa", "secretaria")):
        (container,) = rede[tarefa]["Properties"]["ContainerDefinitions"]
        ditos = {um["Name"]: um["Value"] for um in container["Environment"]}
        ambiente = {
            nome: valor if isinstance(valor, str) else "https://um.exemplo.br"
            for nome, valor in ditos.items()
        }
        ambiente |= {um["Name"]: "um segredo" for um in container["Secrets"]}
        ajustes = Ajustes.do_ambiente(ambiente)
        if paginas:
            assert ajustes.paginas == paginas
            assert criar(ajustes, Vista(tmp_path)).routes
            assert ajustes.host == "0.0.0.0"
        else:
            assert ajustes.exigir("mongo")
            assert ajustes.exigir("segredo")
            assert ajustes.api_host == "0.0.0.0"


def test_the_page_on_cloudfront_has_the_headers_of_the_local_server(tmp_path: Path) -> None:
    cabecalhos = cfn_yaml.load(str(PASTA / "pagina.yaml"))["Resources"]["Cabecalhos"]["Properties"]
    politica = cabecalhos["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"][
        "ContentSecurityPolicy"
    ]["ContentSecurityPolicy"]["Fn::Sub"]
    aqui = Cliente(criar(Ajustes(paginas="aluno", api_url="https://api"), Vista(tmp_path))).get("/")
    politica = politica.replace("${OrigemApi}", "https://api").replace("\n", " ").strip()
    local = aqui.headers["content-security-policy"].replace(" http://127.0.0.1:8082", "")
    assert politica == local


def test_the_package_is_the_same_twice(tmp_path: Path) -> None:
    def pacote(nome: str, momento: float) -> bytes:
        pasta = tmp_path / nome
        (pasta / "b").mkdir(parents=True)
        for arquivo in ("b/dois.py", "um.py"):
            (pasta / arquivo).write_text(f"# {arquivo}\n")
            os.utime(pasta / arquivo, (momento, momento))
        compilar(pasta, sys.executable)
        comprimir(pasta, tmp_path / f"{nome}.zip")
        return (tmp_path / f"{nome}.zip").read_bytes()

    assert pacote("hoje", 1_700_000_000) == pacote("amanha", 1_800_000_000)
    with zipfile.ZipFile(tmp_path / "hoje.zip") as arquivo:
        assert arquivo.namelist() == [
            f"__pycache__/um.{sys.implementation.cache_tag}.pyc",
            f"b/__pycache__/dois.{sys.implementation.cache_tag}.pyc",
            "b/dois.py",
            "um.py",
        ]
        compilado = arquivo.read(arquivo.namelist()[0])
    assert int.from_bytes(compilado[4:8], "little") == 1  # by hash, and not looked at again
    assert marshal.loads(compilado[16:]).co_filename == "/var/task/um.py"


SO_O_PACOTE = """
import sys
from importlib.metadata import packages_distributions

class Fora:
    def __init__(self, postos):
        de = packages_distributions()
        nome = lambda um: um.lower().replace("_", "-")
        self.fora = {m for m, ds in de.items() if not any(nome(d) in postos for d in ds)}
    def find_spec(self, nome, caminho=None, alvo=None):
        if nome.partition(".")[0] in self.fora:
            raise ModuleNotFoundError(nome, name=nome)

sys.meta_path.insert(0, Fora({*sys.argv[1:], "messaging-sns-sqs"}))
import examples.cadastro.funcoes, openpyxl
"""


def test_the_functions_need_nothing_that_is_not_in_the_package() -> None:
    def importar(pacotes: set[str]) -> str:
        dito = subprocess.run(
            [sys.executable, "-c", SO_O_PACOTE, *pacotes],
            capture_output=True, text=True, check=False, cwd=PASTA.parents[1],
        )  # fmt: skip
        return dito.stderr.strip().splitlines()[-1] if dito.returncode else ""

    postos = com_dependencias(PACOTES)
    assert importar(postos) == ""
    assert "itsdangerous" in importar(postos - {"itsdangerous"})  # it would be noticed


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
    da_chave = {"kms:Decrypt", "kms:GenerateDataKey"}
    assert todas - {"logs:CreateLogStream", "logs:PutLogEvents"} - da_chave == pode
    # A key of one's own is used through S3 and SQS, which a function does; the API does neither.
    assert (todas >= da_chave) == (papel != "ApiRole")


def test_a_key_of_ones_own_is_used_for_everything_that_stands_and_only_where_there_is_one(
    recursos: Any,
) -> None:
    for tipo, campo in (("AWS::SQS::Queue", "KmsMasterKeyId"), ("AWS::Logs::LogGroup", "KmsKeyId")):
        for nome, um in do_tipo(recursos, tipo).items():
            assert um[campo]["Fn::If"][:2] == ["ComChave", {"Ref": "Chave"}], nome
    for um in do_tipo(recursos, "AWS::S3::Bucket").values():
        (regra,) = um["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert regra["ServerSideEncryptionByDefault"]["SSEAlgorithm"]["Fn::If"][1] == "aws:kms", (
            nome
        )
    for nome, um in do_tipo(recursos, "AWS::SQS::Queue").items():
        assert um["SqsManagedSseEnabled"]["Fn::If"][2] is True, nome


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


def test_the_table_of_costs_is_what_the_program_prints() -> None:
    assert tabela() in (PASTA / "README.md").read_text(encoding="utf-8")
    assert list(parcelas(1000)) == list(parcelas(10_000_000))
    assert sum(parcelas(10_000_000).values()) > sum(parcelas(1000).values())


ARNS = {
    "Balde": "arn:aws:s3:::balde",
    "Queue": "arn:aws:sqs:sa-east-1:123456789012:fila",
    "DLQ": "arn:aws:sqs:sa-east-1:123456789012:fila",
    "Logs": "arn:aws:logs:sa-east-1:123456789012:log-group:um",
    "Registros": "arn:aws:logs:sa-east-1:123456789012:log-group:um",
    "Chave": "arn:aws:kms:sa-east-1:123456789012:key/0f8fad5b-d9cb-469f-a165-70867728950e",
    "Segredos": "arn:aws:secretsmanager:sa-east-1:123456789012:secret:um-abcdef",
    "AWS::Partition": "aws",
    "AWS::Region": "sa-east-1",
    "AWS::AccountId": "123456789012",
}


def resolvido(valor: Any) -> Any:
    """What CloudFormation would put in the place of its functions, in an account of the test's."""
    if isinstance(valor, list):
        return [resolvido(um) for um in valor]
    if not isinstance(valor, dict):
        return valor
    match list(valor.items()):
        case [("Fn::If", [_, sim, _])]:
            return resolvido(sim)
        case [("Fn::Sub", str(texto))]:
            return re.sub(r"\$\{([^}]+)\}", lambda um: arn_de(um[1]), texto)
        case [("Ref", str(nome))]:
            return arn_de(nome)
        case [("Fn::GetAtt", nome)]:
            return arn_de(nome if isinstance(nome, str) else ".".join(nome))
    return {nome: resolvido(um) for nome, um in valor.items()}


def arn_de(nome: str) -> str:
    return next((arn for pedaco, arn in ARNS.items() if pedaco in nome), "alunos")


def queixas_das_politicas(documentos: dict[str, Any], pasta: Path) -> str:
    """What parliament says of them; as a program of its own, for its import leaves files open."""
    pasta.mkdir()
    for nome, documento in documentos.items():
        (pasta / f"{nome}.json").write_text(json.dumps(resolvido(documento)), encoding="utf-8")
    dito = subprocess.run(
        [Path(sys.executable).with_name("parliament"), "--directory", pasta],
        capture_output=True,
        text=True,
        check=False,
    )
    return dito.stdout


def test_a_linter_of_policies_has_nothing_to_say(tmp_path: Path) -> None:
    documentos = {
        nome: json.loads(json.dumps(politica["PolicyDocument"]))
        for template in TODOS
        for nome, papel in do_tipo(
            cfn_yaml.load(str(template))["Resources"], "AWS::IAM::Role"
        ).items()
        for politica in papel.get("Policies", [])
    }
    assert len(documentos) == 5
    assert queixas_das_politicas(documentos, tmp_path / "todas") == ""
    # It would notice an action that the resource does not have.
    documentos["ApiRole"]["Statement"].append(
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": ARNS["Queue"]}
    )
    assert "No resources match" in queixas_das_politicas(documentos, tmp_path / "uma")
