"""A login provider for one machine: `python -m examples.cadastro.login_local PORT`.

It asks for no password, so it is only for development; a school has its own provider (Entra ID,
Google, Keycloak, Cognito, gov.br), which `CADASTRO_OIDC_EMISSOR` names.
"""

from __future__ import annotations

import os
import sys

import oidc_provider_mock
import uvicorn

from examples.cadastro.processos import filho

__all__ = ["PESSOAS", "main"]

PESSOAS = {
    "secretaria": {"name": "Sônia, da secretaria", "papeis": ["secretaria"]},
    "plantao": {"name": "Paulo, de plantão", "papeis": ["plantao"]},
    "direcao": {"name": "Dora, da direção", "papeis": ["secretaria", "plantao"]},
    "visita": {"name": "Vito, de visita", "papeis": []},
}
"""The users to choose from, by the name to click on."""


def main(porta: int) -> None:
    """Serve until SIGTERM."""
    filho("login")
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # no TLS on this machine
    pessoas = [oidc_provider_mock.User(sub=um, claims=dict(dito)) for um, dito in PESSOAS.items()]
    uvicorn.run(
        oidc_provider_mock.app(user_claims=pessoas),
        interface="wsgi",
        host="127.0.0.1",
        port=porta,
        log_config=None,
        access_log=False,
    )


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    main(int(sys.argv[1]))
