"""The services of the school, each a consumer; `UMA_VEZ` gives each event one effect."""

from escola.eventos import AlunoParaBiblioteca
from escola.models import Carteirinha
from messaging import Consumer, Topology, handles
from messaging.django import TransactionalAtomic

UMA_VEZ = TransactionalAtomic()


class Biblioteca(Consumer):
    """Issues a library card for each enrolled student."""

    @handles
    def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        """Create the card; its idempotency mark is committed with it."""
        Carteirinha.objects.create(aluno_id=aluno.aluno_id, nome=aluno.nome)


TOPOLOGY = Topology.of(Biblioteca, topic="alunos", owns_topic=True)
