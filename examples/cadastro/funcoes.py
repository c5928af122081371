"""The functions that AWS Lambda calls: each is built at its first invocation, then kept.

`Handler: examples.cadastro.funcoes.chamada_api` in template.yaml. Built lazily, so that one
function does not need another's environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from examples.cadastro import cadastro_batch as _batch
from examples.cadastro import chamada_api as _chamada
from examples.cadastro import url_assinada as _url

__all__ = ["cadastro_batch", "chamada_api", "url_assinada"]

_Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


class _Tardio:
    """A handler that is built when it is first called; if that fails, the next call tries again."""

    def __init__(self, novo: Callable[[], _Handler]) -> None:
        self._novo = novo
        self._feito: _Handler | None = None

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        if self._feito is None:
            self._feito = self._novo()
        return self._feito(event, context)


url_assinada = _Tardio(_url.novo_handler)
cadastro_batch = _Tardio(_batch.novo_handler)
chamada_api = _Tardio(_chamada.novo_handler)
