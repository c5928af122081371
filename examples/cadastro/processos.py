"""Runs the parts side by side, restarts those that die, and stops them all together.

A part is a child process that ends with its parent, however the parent ends: it reads a pipe whose
other end its parent holds, and for third-party programs Linux sends the signal.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Parte", "filho", "porta_livre"]

RAIZ = Path(__file__).parents[2]
PACIENCIA = 10.0
"""Seconds within which a part must stop when asked to."""
DE_NOVO, MAIOR_PAUSA, FIRME = 0.5, 10.0, 20.0
"""Seconds after which a dead part is restarted: doubled each time up to the second value, unless it
lived longer than the third."""
_FILHO = "CADASTRO_PAI"
# PR_SET_PDEATHSIG (1) survives exec; on other systems such a program would outlive us.
_LANCA = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""


def filho(nome: str) -> None:
    """Called first in a part: sets up its log, and makes it end when its parent does."""
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {nome} %(levelname)s %(name)s: %(message)s"
    )
    # One line for each request would be most of the log.
    for falador in ("httpx", "uvicorn.access", "botocore", "pymongo"):
        logging.getLogger(falador).setLevel(logging.WARNING)
    if os.environ.pop(_FILHO, "") != str(os.getppid()):
        return  # started by hand

    def vigiar() -> None:
        while os.read(0, 64):
            pass
        os._exit(1)

    threading.Thread(target=vigiar, name="pai", daemon=True).start()


def porta_livre(desejada: int = 0) -> int:
    """`desejada` if it is free, or any free port of 127.0.0.1 for 0. Raises `OSError`."""
    import socket

    with socket.socket() as soquete:
        soquete.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        soquete.bind(("127.0.0.1", desejada))
        return int(soquete.getsockname()[1])


class Parte:
    """One part: how to start it, and its current process. Used by one thread.

    modulo     for our own modules, `python -m modulo *argumentos`; None if `argumentos` is a
               third-party program.
    ligada     whether it should run.
    """

    def __init__(
        self,
        nome: str,
        modulo: str | None,
        *argumentos: str,
        pasta: Path,
        ambiente: Mapping[str, str],
    ) -> None:
        self.nome = nome
        self.ligada = True
        self._modulo = modulo
        self._argumentos = argumentos
        self._log = pasta / "log" / f"{nome}.log"
        self._pasta = pasta
        self._ambiente = dict(ambiente)
        self._processo: subprocess.Popen[bytes] | None = None
        self._de_novo = self._nascido = 0.0
        self._seguidas = 0
        self.mortes = 0

    @property
    def pid(self) -> int | None:
        """The pid of the running process; None if there is none."""
        processo = self._processo
        return processo.pid if processo is not None and processo.poll() is None else None

    @property
    def estado(self) -> str:
        """`ligado`, `parado` (asked to) or `reiniciando` (it died)."""
        if self.pid is not None:
            return "ligado"
        return "reiniciando" if self.ligada else "parado"

    def cuidar(self) -> None:
        """Start or restart the process if needed; called regularly."""
        agora = time.monotonic()
        if not self.ligada:
            if self._processo is not None:
                self.parar()
            return
        if self.pid is not None:
            return
        if self._processo is not None:
            self._enterrar()
            self.mortes += 1
            self._seguidas = self._seguidas + 1 if agora - self._nascido < FIRME else 1
            self._de_novo = agora + min(MAIOR_PAUSA, DE_NOVO * 2.0 ** (self._seguidas - 1))
        elif agora >= self._de_novo:
            self._nascido = agora
            self._processo = self._nascer()

    def pedir_fim(self) -> None:
        """Send SIGTERM, without waiting."""
        if self.pid is not None and self._processo is not None:
            self._processo.terminate()

    def parar(self) -> None:
        """Send SIGTERM, then SIGKILL after a while; returns when the process has ended."""
        self.pedir_fim()
        if self._processo is not None:
            try:
                self._processo.wait(PACIENCIA)
            except subprocess.TimeoutExpired:
                self._processo.kill()
            self._enterrar()

    def ultimas_linhas(self, quantas: int = 15) -> str:
        """The end of its log."""
        try:
            texto = self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(texto.splitlines()[-quantas:])

    def _nascer(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        comando: Sequence[str] = (sys.executable, "-m", str(self._modulo), *self._argumentos)
        if self._modulo is None:
            comando = (sys.executable, "-c", _LANCA, str(os.getpid()), *self._argumentos)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                comando,
                cwd=self._pasta,
                env={**os.environ, **self._ambiente, _FILHO: str(os.getpid()), "PYTHONUTF8": "1",
                     "PYTHONPATH": str(RAIZ)},
                stdin=subprocess.PIPE,  # closed when this process ends, in any way
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the parent, which stops them in order
            )  # fmt: skip

    def _enterrar(self) -> None:
        processo, self._processo = self._processo, None
        if processo is not None:
            processo.wait()
            if processo.stdin is not None:
                processo.stdin.close()
