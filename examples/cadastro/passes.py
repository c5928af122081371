"""Passes: tokens that a page shows to the presigned URL service for a logged-in user."""

from __future__ import annotations

from itsdangerous import BadData, URLSafeTimedSerializer

__all__ = ["VALE", "Passes"]

VALE = 600
"""Seconds for which a pass is valid; the page requests another before it expires."""


class Passes:
    """Creates and reads passes. Only the two sides know `segredo`. Thread-safe."""

    def __init__(self, segredo: str) -> None:
        self._assinador = URLSafeTimedSerializer(segredo, salt="cadastro.passe")

    def novo(self, quem: str) -> str:
        """A pass for the user `quem`."""
        return str(self._assinador.dumps(quem))

    def de(self, autorizacao: str) -> str | None:
        """The user of the header `Bearer <pass>`; None if the pass is invalid or expired."""
        tipo, _, passe = autorizacao.partition(" ")
        if tipo.lower() != "bearer":
            return None
        try:
            quem = self._assinador.loads(passe.strip(), max_age=VALE)
        except BadData:
            return None
        return quem if isinstance(quem, str) else None
