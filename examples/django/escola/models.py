"""The school's tables."""

from django.db import models


class Aluno(models.Model):
    """A student, as the school office knows them."""

    nome = models.CharField(max_length=100)
    cpf = models.CharField(max_length=14)


class Carteirinha(models.Model):
    """A library card."""

    aluno_id = models.CharField(max_length=40)
    nome = models.CharField(max_length=100)
    livros = models.IntegerField(default=0)
