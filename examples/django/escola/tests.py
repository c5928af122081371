"""The project's tests, run by `python manage.py test`: no queue, no server."""

from django.test import Client, TestCase, TransactionTestCase

from escola.eventos import AlunoMatriculado
from escola.models import Aluno, Carteirinha
from escola.servicos import UMA_VEZ, Biblioteca
from messaging.django.models import HandledEvent, OutboxEntry
from messaging.testing import deliver

ANA = AlunoMatriculado(aluno_id="1", nome="Ana", cpf="111")


class Enrolling(TestCase):
    """A request writes a row and an event, or neither."""

    def test_an_event_is_published_with_the_row(self) -> None:
        answer = Client().post("/alunos", {"nome": "Ana", "cpf": "111"})
        self.assertEqual(answer.status_code, 200)
        self.assertEqual((Aluno.objects.count(), OutboxEntry.objects.count()), (1, 1))

    def test_nothing_is_left_of_what_fails(self) -> None:
        with self.assertRaises(ValueError):
            Client().post("/alunos", {"nome": "Ana", "cpf": "111", "erro": "1"})
        self.assertEqual((Aluno.objects.count(), OutboxEntry.objects.count()), (0, 0))


class Cards(TestCase):
    """A handler inside the transaction that Django rolls back after each test."""

    def test_a_duplicate_makes_no_second_card(self) -> None:
        for _ in range(2):
            result = deliver(Biblioteca(), ANA, id="7f0c", middleware=[UMA_VEZ])
            self.assertTrue(result.acknowledged)
        self.assertEqual(Carteirinha.objects.count(), 1)


class CardsInTransactionsOfTheirOwn(TransactionTestCase):
    """Committed rows are deleted after each test, including the outbox and the marks."""

    def test_one(self) -> None:
        deliver(Biblioteca(), ANA, id="7f0c", middleware=[UMA_VEZ])
        self.assertEqual((Carteirinha.objects.count(), HandledEvent.objects.count()), (1, 1))

    def test_another(self) -> None:
        self.test_one()
