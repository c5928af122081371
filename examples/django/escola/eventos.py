"""What happens at the school, and what each service sees of it."""

from messaging import Event, Projection


class AlunoMatriculado(Event, type="aluno.matriculado", version=1, subject="aluno_id"):
    """Somebody has been enrolled."""

    aluno_id: str
    nome: str
    cpf: str


class AlunoParaBiblioteca(Projection, of=AlunoMatriculado, audience="biblioteca"):
    """The library issues cards: it needs no CPF."""

    aluno_id: str
    nome: str
