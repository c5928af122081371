"""The services of the school, each a consumer; `UMA_VEZ` gives each event one effect."""

from escola.eventos import AlunoParaBiblioteca
from escola.models import Carteirinha
from messaging import Consumer, Topology, handles
from messaging.django import TransactionalAtomic

UMA_VEZ = TransactionalAtomic()


class Biblioteca(Consumer):
    """Makes a library card for whoever is enrolled."""

    @handles
    def matriculado(self, aluno: AlunoParaBiblioteca) -> None:
        """Write the card; the mark that it was written is committed with it."""
        Carteirinha.objects.create(aluno_id=aluno.aluno_id, nome=aluno.nome)


TOPOLOGY = Topology.of(Biblioteca, topic="alunos", owns_topic=True)
