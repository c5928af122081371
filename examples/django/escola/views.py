"""The page that enrols."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_POST

from escola.eventos import AlunoMatriculado
from escola.models import Aluno
from messaging.django import publish


@require_POST
@transaction.atomic
def matricular(request: HttpRequest) -> JsonResponse:
    """The row and its event are committed together, or neither is."""
    aluno = Aluno.objects.create(nome=request.POST["nome"], cpf=request.POST["cpf"])
    publish(AlunoMatriculado(aluno_id=str(aluno.pk), nome=aluno.nome, cpf=aluno.cpf))
    if "erro" in request.POST:
        raise ValueError("something else went wrong")
    return JsonResponse({"aluno_id": str(aluno.pk)})
