"""Translates pydantic's errors about a row for the person who corrects the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from messaging.codec import mistake_told
from messaging.csvfile.cells import is_email
from messaging.csvfile.wording import Language, said
from messaging.event import Event

__all__ = ["mistakes_of"]


def mistakes_of(
    error: ValidationError, event: type[Event], language: Language
) -> Sequence[tuple[str, str]]:
    """(field, reason) of each mistake, in order; a reason never shows a value."""
    return [
        (field, _reason(mistake, field, event, language))
        for mistake in error.errors(include_url=False, include_input=False)
        for field in [str(mistake["loc"][0]) if mistake["loc"] else ""]
    ]


def _reason(mistake: ErrorDetails, field: str, event: type[Event], language: Language) -> str:
    info = event.model_fields.get(field)
    if info is not None and is_email(info.annotation):
        return said("email", language)
    text = _PORTUGUESE.get(mistake["type"]) if language == "pt" else None
    if text is None:
        return mistake_told(mistake, language)
    context: dict[str, Any] = dict(mistake.get("ctx", {}))
    expected = context.get("expected")
    if isinstance(expected, str):
        context["expected"] = expected.replace(" or ", " ou ")
    return text.format_map(context)


# https://docs.pydantic.dev/latest/errors/validation_errors/: each error's context has the declared
# limit, never the value.
_PORTUGUESE: Mapping[str, str] = {
    "missing": "falta",
    "string_too_short": "curto demais: ao menos {min_length} caracteres",
    "string_too_long": "longo demais: no máximo {max_length} caracteres",
    "string_pattern_mismatch": "não tem a forma esperada",
    "literal_error": "esperado {expected}",
    "enum": "esperado {expected}",
    "int_parsing": "não é um número inteiro",
    "int_from_float": "não é um número inteiro",
    "int_parsing_size": "número grande demais",
    "float_parsing": "não é um número",
    "decimal_parsing": "não é um número",
    "decimal_max_digits": "número longo demais: no máximo {max_digits} algarismos",
    "decimal_max_places": "no máximo {decimal_places} casas decimais",
    "decimal_whole_digits": "número grande demais: no máximo {whole_digits} algarismos antes da "
    "vírgula",
    "finite_number": "não é um número",
    "greater_than": "deve ser maior que {gt}",
    "greater_than_equal": "deve ser no mínimo {ge}",
    "less_than": "deve ser menor que {lt}",
    "less_than_equal": "deve ser no máximo {le}",
    "multiple_of": "deve ser múltiplo de {multiple_of}",
    "bool_parsing": "nem sim nem não: escreva sim ou não",
    "uuid_parsing": "não é um UUID",
    "date_past": "deve ser uma data no passado",
    "date_future": "deve ser uma data no futuro",
    "datetime_past": "deve ser no passado",
    "datetime_future": "deve ser no futuro",
    "date_from_datetime_inexact": "esperada só a data, sem a hora",
    "url_parsing": "não é um endereço (URL)",
    "value_error": "recusado pelas regras deste campo",
    "assertion_error": "recusado pelas regras deste campo",
}
