"""The room of what the API takes and answers, and of its refusals in Portuguese."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from pydantic import (
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    PastDate,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from consumers.events import CPF, AlunoCadastrado, Nome, Origem

__all__ = ["AlunoCriado", "Erro", "Erros", "NovoAluno", "Saude", "erros_de"]

_Texto = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class NovoAluno(BaseModel):
    """An enrolment. Only `nome` and `email` are needed, as in the school's system of today."""

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
    email: EmailStr
    senha: SecretStr | None = Field(default=None, min_length=8, max_length=128)
    cpf: CPF | None = None
    curso: _Texto | None = None
    valor_mensalidade: Decimal | None = Field(default=None, ge=0, max_digits=12, decimal_places=2)
    aceita_marketing: bool = False
    data_nascimento: PastDate | None = None
    origem: Origem = "formulario"

    @field_validator("nome", "curso", mode="after")
    @classmethod
    def _sem_controle(cls, texto: str | None, info: ValidationInfo) -> str | None:
        # SNS would refuse it later, when nobody is there to be told.
        if texto is not None and not texto.isprintable():
            raise PydanticCustomError("controle", "holds a control character")
        return texto

    def cadastrado(self) -> AlunoCadastrado:
        """The event: a new student, now. It has no field for a password."""
        return AlunoCadastrado(
            aluno_id=uuid4(),
            data_matricula=datetime.now(UTC),
            **self.model_dump(exclude={"senha"}),
        )


class AlunoCriado(BaseModel):
    """What is told of the student: nothing that the caller did not say, but the id."""

    aluno_id: UUID
    nome: str
    email: str


class Erro(BaseModel):
    """One refusal. `campo` is "" where it is about the request as a whole."""

    campo: str
    motivo: str


class Erros(BaseModel):
    """Why nothing was done. No value of the request is repeated."""

    erros: list[Erro]
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"erros": [{"campo": "cpf", "motivo": "não é um CPF"}]}]}
    )


class Saude(BaseModel):
    """`pendentes`: students inserted whose event is not published yet."""

    estado: Literal["ok", "sem documentos"]
    pendentes: int


_MOTIVOS: Mapping[str, str] = {
    "missing": "falta",
    "extra_forbidden": "este campo não existe",
    "cpf": "não é um CPF: 11 dígitos, com os verificadores certos",
    "controle": "contém um caractere de controle",
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
    "date_past": "deve estar no passado",
    "literal_error": "não é uma das opções",
    "json_invalid": "o corpo não é JSON",
    "model_attributes_type": "o corpo não é um objeto JSON",
    "model_type": "o corpo não é um objeto JSON",
    "dict_type": "o corpo não é um objeto JSON",
}


def erros_de(mistakes: Iterable[Mapping[str, Any]]) -> Erros:
    """pydantic's mistakes as the page shows them: one for each field, and never its value."""
    achados: dict[str, str] = {}
    for um in mistakes:
        lugar = [str(parte) for parte in um["loc"] if parte != "body"]
        tipo = str(um["type"])
        campo = lugar[0] if lugar and tipo != "json_invalid" else ""
        # What the caller called a field is the caller's text: shown if it is short and plain.
        if tipo == "extra_forbidden" and not (campo.isidentifier() and len(campo) <= 40):
            campo = ""
        modelo = _MOTIVOS.get(tipo, "uma data, aaaa-mm-dd" if "date" in tipo else "não serve")
        if tipo == "string_too_short" and um.get("ctx", {}).get("min_length") == 1:
            modelo = "vazio"
        achados.setdefault(campo, modelo.format(**um.get("ctx", {})))
    return Erros(erros=[Erro(campo=campo, motivo=motivo) for campo, motivo in achados.items()])
