"""Passes: what a page shows to the presigned URL service for somebody who is logged in."""

from __future__ import annotations

from itsdangerous import BadData, URLSafeTimedSerializer

__all__ = ["VALE", "Passes"]

VALE = 600
"""Seconds for which a pass is good; the page asks for another before they are over."""


class Passes:
    """Makes and reads passes. Both sides know `segredo`, and nobody else does. Safe to share."""

    def __init__(self, segredo: str) -> None:
        self._assinador = URLSafeTimedSerializer(segredo, salt="cadastro.passe")

    def novo(self, quem: str) -> str:
        """A pass for the person whose login says `quem`."""
        return str(self._assinador.dumps(quem))

    def de(self, autorizacao: str) -> str | None:
        """Who shows the header `Bearer <pass>`; None for a pass that is none, or too old."""
        tipo, _, passe = autorizacao.partition(" ")
        if tipo.lower() != "bearer":
            return None
        try:
            quem = self._assinador.loads(passe.strip(), max_age=VALE)
        except BadData:
            return None
        return quem if isinstance(quem, str) else None
