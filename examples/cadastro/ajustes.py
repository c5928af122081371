"""The settings of each part: read once from the environment, with all mistakes reported together.

AWS's own variables (credentials, region, endpoint) are boto3's; `MESSAGING_*` are the library's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["Ajustes", "AjustesErrados"]

PREFIXO = "CADASTRO_"
_PAGINA = "(aluno|secretaria|plantao)"
_PAGINAS = rf"^\s*{_PAGINA}(\s+{_PAGINA})*\s*$"


class AjustesErrados(ValueError):
    """An environment variable is invalid, or one that a part needs is missing."""


class Ajustes(BaseModel):
    """Each field is read from `CADASTRO_<FIELD>`; README.md says which part reads which.

    mongo            a MongoDB URI; may hold a password, so it is not in `repr`.
    segredo          authenticates chamada_api to the API; any other caller is a stranger.
    api_por_segundo  enrolments a second that one copy of the API takes; 0: no limit.
    origens          origins that may call from a browser, separated by spaces.
    limite_csv       bytes of an upload.
    pasta            where the services keep their databases, and the painel reads them.
    controle         True on one machine: the painel may stop services, and the API may be killed.
    paginas          which pages this server has: aluno, secretaria, plantao, separated by spaces.
    pagina_url       this server's public URL, if it differs from the one it sees (behind TLS).
    nomes            our own host names, separated by spaces.
    segredo_sessao   signs the session cookie.
    segredo_passes   signs the passes that the secretary's page shows to the presigned URL service.
    oidc_emissor     the OpenID Connect provider; its configuration is read from there.
    oidc_papeis      the claim with a person's roles: `secretaria`, `plantao`, or both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mongo: str = Field(default="", repr=False)
    mongo_banco: str = "cadastro"
    segredo: str = Field(default="", repr=False)
    api_host: str = "127.0.0.1"
    api_porta: int = Field(default=8081, ge=0, le=65535)
    api_por_segundo: float = Field(default=200, ge=0)
    api_url: str = Field(default="http://127.0.0.1:8081", pattern=r"^https?://")
    origens: str = ""
    balde: str = "alunos-csv"
    balde_resultados: str = "alunos-csv-resultados"
    limite_csv: int = Field(default=100 * 1024 * 1024, ge=1)
    fila_alunos: str = "alunos-chamada-api"
    fila_batch: str = "alunos-cadastro-batch"
    url_assinada_porta: int = Field(default=8082, ge=0, le=65535)
    url_assinada_url: str = Field(default="http://127.0.0.1:8082", pattern=r"^https?://")
    s3_url: str = ""
    host: str = "127.0.0.1"
    porta: int = Field(default=8080, ge=0, le=65535)
    pasta: Path = Path("dados")
    controle: bool = False
    paginas: str = Field(default="aluno secretaria plantao", pattern=_PAGINAS)
    pagina_url: str = Field(default="", pattern=r"^(https?://[^/]+)?$")
    nomes: str = "127.0.0.1 localhost"
    segredo_sessao: str = Field(default="", repr=False)
    segredo_passes: str = Field(default="", repr=False)
    oidc_emissor: str = Field(default="", pattern=r"^(https?://.*)?$")
    oidc_cliente: str = "cadastro"
    oidc_segredo: str = Field(default="", repr=False)
    oidc_papeis: str = "papeis"

    @classmethod
    def do_ambiente(cls, ambiente: Mapping[str, str] | None = None) -> Self:
        """Read `ambiente` (default: this process's). Raises `AjustesErrados`, which quotes no
        value."""
        dado = os.environ if ambiente is None else ambiente
        valores = {
            nome.removeprefix(PREFIXO).lower(): valor
            for nome, valor in dado.items()
            if nome.startswith(PREFIXO) and valor
        }
        try:
            return cls.model_validate(valores)
        except ValidationError as erro:
            linhas = [
                f"{PREFIXO}{str(um['loc'][0]).upper()}: {um['msg']}"
                for um in erro.errors(include_url=False, include_input=False)
            ]
            raise AjustesErrados("\n".join(linhas)) from None

    @property
    def origens_permitidas(self) -> list[str]:
        """`origens`, as a list."""
        return self.origens.split()

    def exigir(self, campo: str) -> str:
        """The value of `campo`. Raises `AjustesErrados` if it is not set."""
        valor = str(getattr(self, campo))
        if not valor:
            raise AjustesErrados(
                f"{PREFIXO}{campo.upper()}: this part needs it; set it in the environment"
            )
        return valor
