"""Makes the zip of the three functions: `python -m examples.cadastro.pacote dist` (`make package`).

For arm64 and the Python that template.yaml names, whatever this machine is, from the versions of
the lock. The same sources give the same bytes: what did not change is not deployed again. Lambda
cannot write compiled files beside the code, so they are in the zip, made by the functions' Python.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["PACOTES", "com_dependencias", "compilar", "comprimir"]

RAIZ = Path(__file__).parents[2]
PACOTES = (
    "boto3",
    "email-validator",
    "httpx",
    "itsdangerous",
    "openpyxl",
    "pydantic",
    "python-stdnum",
    "tenacity",
    "tzdata",
)
"""What the functions import; what these need is found by itself."""
NOSSOS = ("consumers", "examples", "messaging")
VERSAO = "3.13"
PLATAFORMA = ("--platform", "manylinux2014_aarch64", "--python-version", VERSAO)
_DATA = (1980, 1, 1, 0, 0, 0)


def com_dependencias(nomes: Iterable[str]) -> set[str]:
    """These distributions and all that they need, without extras."""
    achados: set[str] = set()
    falta = list(nomes)
    while falta:
        nome = falta.pop().lower().replace("_", "-")
        if nome in achados:
            continue
        achados.add(nome)
        try:
            ditos = requires(nome) or []
        except PackageNotFoundError:
            continue  # it is for another system
        for dito in ditos:
            pedido = Requirement(dito)
            if pedido.marker is None or pedido.marker.evaluate({"extra": ""}):
                falta.append(pedido.name)
    return achados


def python_das_funcoes() -> str:
    """The Python of the functions on this machine: others would make files that it ignores."""
    aqui = ".".join(map(str, sys.version_info[:2])) == VERSAO
    python = sys.executable if aqui else shutil.which(f"python{VERSAO}")
    if python is None or subprocess.run([python, "-V"], check=False).returncode:
        sys.exit(f"python{VERSAO} is not on the PATH, and the functions are compiled by it")
    return python


def compilar(pasta: Path, python: str) -> None:
    """Compile a folder as it will lie on Lambda, whenever and wherever that is done.

    By hash, since a zip changes the dates by which Python would otherwise judge.
    """
    subprocess.run(
        [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
         "-s", pasta, "-p", "/var/task", pasta],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip


def comprimir(pasta: Path, destino: Path) -> None:
    """Zip a folder: in the order of its names, with one date for all."""
    with zipfile.ZipFile(destino, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as arquivo:
        for um in sorted(pasta.rglob("*")):
            if um.is_dir():
                continue
            dito = zipfile.ZipInfo(um.relative_to(pasta).as_posix(), _DATA)
            dito.compress_type = zipfile.ZIP_DEFLATED
            dito.external_attr = 0o644 << 16  # Lambda must be able to read it
            arquivo.writestr(dito, um.read_bytes())


def travados(nomes: set[str]) -> str:
    """The lines of the lock for these distributions, hashes and all."""
    texto = (RAIZ / "requirements" / "cadastro.txt").read_text(encoding="utf-8")
    blocos = re.split(r"\n(?=\S)", texto.replace("\\\n", "\0"))
    return "\n".join(
        bloco.replace("\0", "\\\n")
        for bloco in blocos
        if re.split(r"[=;\s]", bloco, maxsplit=1)[0].lower() in nomes
    )


def main(destino: Path) -> None:
    """Build `funcoes.zip` in `destino`, and say its hash."""
    python = python_das_funcoes()
    destino.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cadastro-pacote-") as dado:
        pasta = Path(dado) / "pacote"
        lista = Path(dado) / "lock.txt"
        lista.write_text(travados(com_dependencias(PACOTES)), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
             "--only-binary=:all:", "--no-compile", *PLATAFORMA, "--target", pasta, "-r", lista],
            check=True,
        )  # fmt: skip
        shutil.rmtree(pasta / "bin", ignore_errors=True)
        # The names of installed files and when they came say nothing to a function.
        for um in (*pasta.glob("*.dist-info/RECORD"), *pasta.glob("*.dist-info/INSTALLER")):
            um.unlink()
        for nosso in NOSSOS:
            shutil.copytree(
                RAIZ / nosso, pasta / nosso, ignore=shutil.ignore_patterns("__pycache__", "front")
            )
        compilar(pasta, python)
        comprimir(pasta, destino / "funcoes.zip")
    dito = (destino / "funcoes.zip").read_bytes()
    print(
        f"{destino / 'funcoes.zip'}: {len(dito):,} bytes, sha256 {hashlib.sha256(dito).hexdigest()}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
