"""A WSGI application that publishes while it answers, for gunicorn's workers of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from messaging import Event, Publisher, connect


class PedidoFeito(Event, type="pedido.feito", version=1):
    numero: int


@cache
def publisher() -> Publisher:
    return Publisher(connect().topic(), source="/loja")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    number = int(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/many":
        sent = publisher().publish_many(PedidoFeito(numero=number) for _ in range(25)).accepted
    else:
        sent = publisher().publish(PedidoFeito(numero=number)).copies
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(sent).encode()]
