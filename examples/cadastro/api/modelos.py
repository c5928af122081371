"""The API's requests and responses, and its refusals in Portuguese."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from consumers.events import AlunoCadastrado, Origem
from examples.cadastro.regras import CPF, Curso, Email, Mensalidade, Nascimento, Nome

__all__ = ["AlunoConhecido", "AlunoCriado", "Erro", "Erros", "NovoAluno", "Saude", "erros_de"]


class NovoAluno(BaseModel):
    """An enrolment. Only `nome` and `email` are required, as in the school's current system."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"nome": "Kathryn Janeway", "email": "janeway@voyager.sf"},
                {
                    "nome": "Ana Souza",
                    "email": "ana@example.com",
                    "senha": "correto cavalo bateria",
                    "cpf": "529.982.247-25",
                    "curso": "Engenharia de Dados",
                    "valor_mensalidade": "890.00",
                    "aceita_marketing": True,
                    "data_nascimento": "1998-03-14",
                },
            ]
        },
    )

    nome: Nome
    email: Email
    senha: SecretStr | None = Field(default=None, min_length=8, max_length=128)
    cpf: CPF | None = None
    curso: Curso | None = None
    valor_mensalidade: Mensalidade | None = None
    aceita_marketing: bool | None = None
    data_nascimento: Nascimento | None = None
    origem: Origem = "formulario"

    @property
    def ditos(self) -> set[str]:
        """Names of the fields that the caller set."""
        return {nome for nome in self.model_fields_set if getattr(self, nome) is not None}

    def cadastrado(self) -> AlunoCadastrado:
        """The event for a new student. It has no field for a password."""
        return AlunoCadastrado(
            aluno_id=uuid4(),
            data_matricula=datetime.now(UTC),
            # Without a recorded consent, there is none.
            **{"aceita_marketing": False, **self.model_dump(exclude={"senha"}, exclude_none=True)},
        )


class AlunoCriado(BaseModel):
    """The student in a response: only the caller's own data and the id."""

    aluno_id: UUID
    nome: str
    email: str


class AlunoConhecido(AlunoCriado):
    """An already enrolled student: `igual` (nothing to do) or `atualizado`."""

    situacao: Literal["igual", "atualizado"]


class Erro(BaseModel):
    """One refusal. `campo` is "" if it concerns the request as a whole."""

    campo: str
    motivo: str


class Erros(BaseModel):
    """The reasons why nothing was done. No value of the request is repeated."""

    erros: list[Erro]
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"erros": [{"campo": "cpf", "motivo": "não é um CPF"}]}]}
    )


class Saude(BaseModel):
    """`pendentes`: inserted students whose event is not yet published."""

    estado: Literal["ok", "sem documentos"]
    pendentes: int


_PARTES = (("body",), ("path",), ("header",))
_MOTIVOS: Mapping[str, str] = {
    "missing": "falta",
    "uuid_parsing": "não é um identificador",
    "extra_forbidden": "este campo não existe",
    "cpf": "não é um CPF: 11 dígitos, com os verificadores certos",
    "controle": "contém um caractere de controle, ou um que não se lê",
    "nascimento_futuro": "deve estar no passado",
    "nascimento_antigo": "é antes de 1900: confira o ano",
    "value_error": "não é um endereço de e-mail",
    "string_too_short": "curto demais: pelo menos {min_length}",
    "too_short": "curto demais: pelo menos {min_length} caracteres",
    "string_too_long": "longo demais: no máximo {max_length} caracteres",
    "too_long": "longo demais: no máximo {max_length} caracteres",
    "string_type": "deve ser um texto",
    "bool_type": "deve ser true ou false",
    "bool_parsing": "deve ser true ou false",
    "decimal_parsing": "não é um número: escreva 890.00",
    "decimal_type": "não é um número: escreva 890.00",
    "decimal_max_places": "no máximo duas casas decimais",
    "decimal_max_digits": "grande demais",
    "decimal_whole_digits": "grande demais",
    "finite_number": "não é um número: escreva 890.00",
    "greater_than_equal": "não pode ser negativo",
    "literal_error": "não é uma das opções",
    "json_invalid": "o corpo não é JSON",
    "model_attributes_type": "o corpo não é um objeto JSON",
    "model_type": "o corpo não é um objeto JSON",
    "dict_type": "o corpo não é um objeto JSON",
}


def erros_de(mistakes: Iterable[Mapping[str, Any]]) -> Erros:
    """pydantic's errors for the page: one for each field, never its value."""
    achados: dict[str, str] = {}
    for um in mistakes:
        onde = um["loc"]
        # FastAPI puts the part of the request first.
        lugar = [str(parte) for parte in onde[onde[:1] in _PARTES :]]
        tipo = str(um["type"])
        campo = lugar[0] if lugar and tipo != "json_invalid" else ""
        # A field name chosen by the caller is the caller's text: shown only if it is short and
        # plain.
        if tipo == "extra_forbidden" and not (campo.isidentifier() and len(campo) <= 40):
            campo = ""
        modelo = _MOTIVOS.get(tipo, "uma data, aaaa-mm-dd" if "date" in tipo else "não serve")
        if tipo == "string_too_short" and um.get("ctx", {}).get("min_length") == 1:
            modelo = "vazio"
        achados.setdefault(campo, modelo.format(**um.get("ctx", {})))
    return Erros(erros=[Erro(campo=campo, motivo=motivo) for campo, motivo in achados.items()])
