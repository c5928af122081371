"""Marks fields with personal data: what they reveal, and their category."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from messaging.errors import EventError

__all__ = ["PERSONAL", "Category", "Personal"]

Category = Literal["common", "sensitive", "child", "pseudonym"]
"""The LGPD's categories (Lei 13.709/2018): personal data (art. 5, I), sensitive data (art. 5, II),
data of children and adolescents (art. 14), and pseudonymized data (art. 13, par. 4)."""

PERSONAL = "x-personal-data"
"""The keyword of a marked field in JSON Schema."""


@dataclass(frozen=True, slots=True)
class Personal:
    """Marks a field as personal data; the catalogue shows it, and validation does not change.

    Mark the event's field: views that show the field inherit the mark.

    Args:
        about: what the field reveals about a person, in your words.
        category: "common", "sensitive", "child" or "pseudonym".

    Raises:
        EventError: if `about` is empty, or `category` is not one of the four.

    Example:
        ```python
        from typing import Annotated

        from messaging import Personal


        class LaudoEnviado(Event, type="laudo.enviado", version=1):
            nome: Annotated[str, Personal("identificação")]
            laudo: Annotated[str | None, Personal("saúde", category="sensitive")] = None
        ```
    """

    about: str
    category: Category = "common"

    def __post_init__(self) -> None:
        if not isinstance(self.about, str) or not self.about.strip():
            raise EventError(
                'Personal(...): say what the field tells about a person: Personal("contato")'
            )
        if self.category not in get_args(Category):
            known = ", ".join(get_args(Category))
            raise EventError(f"Personal(category={self.category!r}): known are {known}")

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """The field's JSON Schema with the mark; pydantic calls this."""
        mark = {"about": self.about, "category": self.category}
        return {**handler(core), PERSONAL: mark}
