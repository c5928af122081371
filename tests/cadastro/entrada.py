"""A login without a provider: the cookie that the server of the pages would have signed."""

from __future__ import annotations

import json
from base64 import b64encode

from itsdangerous import TimestampSigner

from examples.cadastro.ajustes import Ajustes
from examples.cadastro.passes import Passes

__all__ = ["CSRF", "passe", "sessao"]

CSRF = "um-csrf"


def sessao(ajustes: Ajustes, *papeis: str) -> dict[str, str]:
    """Headers of somebody with these roles, the one for orders among them."""
    dito = {"quem": "teste", "nome": "Teste", "papeis": list(papeis), "csrf": CSRF}
    cru = b64encode(json.dumps(dito).encode())
    cookie = TimestampSigner(ajustes.segredo_sessao).sign(cru).decode()
    return {"cookie": f"cadastro={cookie}", "x-csrf": CSRF}


def passe(ajustes: Ajustes) -> dict[str, str]:
    """What the secretary's page shows to the presigned URL service."""
    return {"authorization": f"Bearer {Passes(ajustes.segredo_passes).novo('teste')}"}
