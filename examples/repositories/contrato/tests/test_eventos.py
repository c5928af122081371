"""Tests of who sees what."""

from decimal import Decimal

from escola_contrato import AlunoMatriculado

from messaging import Publisher
from messaging.testing import RecordingTopic


def test_the_fee_is_for_financeiro_alone() -> None:
    topic = RecordingTopic()
    with Publisher(topic, source="/testes") as publisher:
        publisher.publish(
            AlunoMatriculado(id="1", nome="Ana", turma="ENEM", mensalidade=Decimal(900))
        )
    sent = {copy.audience: set(copy.data) for copy in topic.copies}
    assert sent == {
        ("financeiro",): {"id", "nome", "turma", "mensalidade"},
        ("biblioteca",): {"id", "nome"},
    }
