"""The templates are deployed on a local server, as far as it goes, and what they made works."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from cfnlint.decode import cfn_yaml

from messaging.local import LocalServer

PASTA = Path(__file__).parents[2] / "examples" / "cadastro"
PARAMETROS = {
    "rede": {
        "Imagem": "cadastro@sha256:" + "a" * 64,
        "PapelApi": "arn:aws:iam::000000000000:role/api",
        "Certificado": "arn:aws:acm:sa-east-1:000000000000:certificate/um",
        "NomeApi": "api.escola.example",
        "NomeSecretaria": "secretaria.escola.example",
        "OrigemPagina": "https://matricula.escola.example",
        "UrlUploads": "https://uploads.escola.example",
        "OrigemBalde": "https://balde.s3.sa-east-1.amazonaws.com",
        "OidcEmissor": "https://login.escola.example",
        "Segredos": "arn:aws:secretsmanager:sa-east-1:000000000000:secret:cadastro",
        "SenhaDocumentos": "uma senha bem comprida",
    },
    "pagina": {
        "Nome": "matricula.escola.example",
        "Certificado": "arn:aws:acm:us-east-1:000000000000:certificate/um",
        "OrigemApi": "https://api.escola.example",
    },
}


class Nuvem:
    """Clients of one local server."""

    def __init__(self, sessao: boto3.Session, url: str) -> None:
        def novo(nome: str) -> Any:
            cliente: Any = sessao.client(nome, endpoint_url=url)  # type: ignore[call-overload]
            return cliente

        self.formacao, self.s3, self.sqs = novo("cloudformation"), novo("s3"), novo("sqs")
        self.lambdas = novo("lambda")

    def implantar(self, nome: str, modelo: str, parametros: dict[str, str]) -> list[Any]:
        """The resources of a stack that is there, whole."""
        self.formacao.create_stack(
            StackName=nome,
            TemplateBody=modelo,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": um, "ParameterValue": valor} for um, valor in parametros.items()
            ],
        )
        for _ in range(200):
            estado = self.formacao.describe_stacks(StackName=nome)["Stacks"][0]["StackStatus"]
            if "PROGRESS" not in estado:
                break
            time.sleep(0.05)
        eventos = self.formacao.describe_stack_events(StackName=nome)["StackEvents"]
        assert estado == "CREATE_COMPLETE", [
            (um["LogicalResourceId"], um.get("ResourceStatusReason"))
            for um in eventos
            if "FAILED" in um["ResourceStatus"]
        ]
        recursos: list[Any] = self.formacao.describe_stack_resources(StackName=nome)[
            "StackResources"
        ]
        return recursos


@pytest.fixture
def nuvem(aws: LocalServer, sessao: boto3.Session) -> Nuvem:
    return Nuvem(sessao, aws.url)


def test_the_functions_their_queues_and_buckets_are_deployed_and_a_file_reaches_its_queue(
    nuvem: Nuvem,
) -> None:
    topico = f"alunos-{uuid4().hex[:8]}"
    pacote = io.BytesIO()
    with zipfile.ZipFile(pacote, "w") as arquivo:
        arquivo.writestr("vazio.py", "")
    balde = f"pacote-{uuid4().hex[:8]}"
    nuvem.s3.create_bucket(
        Bucket=balde, CreateBucketConfiguration={"LocationConstraint": "sa-east-1"}
    )
    nuvem.s3.put_object(Bucket=balde, Key="funcoes.zip", Body=pacote.getvalue())

    modelo = json.loads(json.dumps(cfn_yaml.load(str(PASTA / "template.yaml"))))
    # The server polls for functions, too, and would take what this test looks for.
    for nome in ("BatchMapping", "ChamadaMapping"):
        modelo["Resources"][nome]["Properties"]["Enabled"] = False
    recursos = nuvem.implantar(
        topico,
        json.dumps(modelo),
        {
            "Topico": topico,
            "Pacote": balde,
            "ChavePacote": "funcoes.zip",
            "VersaoPacote": "null",
            "UrlApi": "https://api.escola.example",
            "SegredoApi": "s" * 40,
            "SegredoPasses": "p" * 40,
            "OrigemPagina": "https://matricula.escola.example",
            "Avisos": "arn:aws:sns:sa-east-1:000000000000:avisos",
        },
    )

    assert {um["LogicalResourceId"] for um in recursos} == set(modelo["Resources"])
    onde = {um["LogicalResourceId"]: um["PhysicalResourceId"] for um in recursos}
    fila = nuvem.sqs.get_queue_url(QueueName=f"{topico}-cadastro-batch")["QueueUrl"]

    def avisos() -> list[str]:
        """Keys of the first files that are told; the test event that S3 sends has none."""
        fim = time.monotonic() + 20
        while time.monotonic() < fim:
            lidas = nuvem.sqs.receive_message(QueueUrl=fila, WaitTimeSeconds=2).get("Messages", [])
            registros = [um for uma in lidas for um in json.loads(uma["Body"]).get("Records", [])]
            if registros:
                return [um["s3"]["object"]["key"] for um in registros]
        return []

    nuvem.s3.put_object(Bucket=onde["Balde"], Key="conferir/um.csv", Body=b"nome\n")
    nuvem.s3.put_object(Bucket=onde["Balde"], Key="enviados/um.csv", Body=b"nome\n")
    assert avisos() == ["enviados/um.csv"]  # what somebody still looks at is not read
    funcao = nuvem.lambdas.get_function_configuration(FunctionName=f"{topico}-url-assinada")
    assert funcao["Environment"]["Variables"]["CADASTRO_SEGREDO_PASSES"] == "p" * 40


# What the local server's CloudFormation does not know, with what hangs on it.
SEM = {"rede": {"SaidaIp", "Saida", "PelaSaida"}, "pagina": set[str]()}


@pytest.mark.parametrize("qual", ["rede", "pagina"])
def test_the_other_stacks_are_deployed_but_for_what_the_server_does_not_know(
    nuvem: Nuvem, qual: str
) -> None:
    modelo = json.loads(json.dumps(cfn_yaml.load(str(PASTA / f"{qual}.yaml"))))
    for nome in SEM[qual]:
        del modelo["Resources"][nome]
    if qual == "rede":
        # A parameter of type Number comes to the server's ECS as a text, and it reckons with it.
        modelo["Resources"]["Api"]["Properties"]["DesiredCount"] = 2
    for recurso in modelo["Resources"].values():
        depende = recurso.get("DependsOn")
        if isinstance(depende, list):
            recurso["DependsOn"] = [um for um in depende if um not in SEM[qual]]

    recursos = nuvem.implantar(f"{qual}-{uuid4().hex[:8]}", json.dumps(modelo), PARAMETROS[qual])

    assert {um["LogicalResourceId"] for um in recursos} == set(modelo["Resources"])
