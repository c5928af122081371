"""A proxy before a RabbitMQ node that cuts connections in the middle of what passes.

    with CuttingProxy(server.url, seed=7) as proxy:
        settings = Settings(topic="alunos", broker_url=proxy.url)

It understands nothing of what passes: a cut may fall into a frame, between a message and its
acknowledgement, or between a publish and its confirm.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.chaos.proxy import ProxyThread, reset

__all__ = ["CuttingProxy"]

CUT, SLOW = 0.008, 0.02
"""How often, of the pieces that pass."""
_SLOWEST = 0.5
_PIECE = 16_384


class CuttingProxy(ProxyThread):
    """Forwards AMQP to a node: resets a connection now and then, and is slow at times."""

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.ensure_future(self._forward("sent", reader, upstream)),
            asyncio.ensure_future(self._forward("received", answers, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut = any(way.done() and not way.cancelled() and way.result() for way in ways)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            if cut:
                reset(writer)
                reset(upstream)

    async def _forward(
        self, way: str, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> bool:
        """True: the connection is to be cut."""
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                self.requests[way] += 1
                throw = 1.0 if self._calm else self._chance.random()
                if throw < CUT:
                    self.injected[f"reset while {way}"] += 1
                    target.write(piece[: self._chance.randrange(len(piece))])
                    await target.drain()
                    return True
                if throw < CUT + SLOW:
                    self.injected["slow"] += 1
                    await asyncio.sleep(self._chance.uniform(0, _SLOWEST))
                target.write(piece)
                await target.drain()
        return False
