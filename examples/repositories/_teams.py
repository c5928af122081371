"""Each repository's folder, environments (one for each release) and processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Done", "Service", "Team", "Workshop"]

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1]
GRACE = 30
"""Seconds within which a service must stop when asked to."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The output of a command with --json."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The same for a command that prints one object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Workshop:
    """Builds wheels, and creates the environments that they are installed into.

    An environment is a venv of its own. The wheels of the library and of the repositories are
    installed into it by pip. The library's own dependencies (boto3, pydantic, ...) are not
    downloaded again: a .pth file points to the packages of the environment that runs this script,
    so nothing here needs a network, and creating an environment takes a second. An editable install
    of the library in that environment has no effect: it is a .pth file too, and Python ignores .pth
    files in a folder that was added by one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wheels = folder / "wheels"
        self.library = self._built(LIBRARY, "library")

    def copy(self, name: str) -> Path:
        """The repository `name` as a folder of its own, outside this clone."""
        ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        return Path(shutil.copytree(HERE / name, self._folder / name, ignore=ignored))

    def release(self, repository: Path, version: str, **files: Path) -> Path:
        """The wheel of `repository` as `version`, with `files` in place of its modules' own.

        A keyword names the file that it replaces: servico=... is servico.py of the package.
        """
        place = self._folder / f"{repository.name}-{version}"
        shutil.copytree(repository, place)
        for module, file in files.items():
            (old,) = place.glob(f"*/{module}.py")
            shutil.copy(file, old)
        project = place / "pyproject.toml"
        text = project.read_text()
        project.write_text(re.sub('(?m)^version = ".*"$', f'version = "{version}"', text))
        return self._built(place, place.name)

    def environments(self, wanted: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
        """The Python of each environment, by name; each has the library and its wheels."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(self._environment, wanted, wanted.values())
            return dict(zip(wanted, made, strict=True))

    def _environment(self, name: str, wheels: Sequence[Path]) -> Path:
        place = self._folder / "environments" / name
        venv.create(place, symlinks=True)
        python = place / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install"]
        options = ["--no-index", "--no-deps", "--no-compile", "--quiet"]
        _checked([*pip, *options, "--disable-pip-version-check", self.library, *wheels])
        (site,) = place.glob("lib/python*/site-packages")
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return python

    def _built(self, project: Path, name: str) -> Path:
        folder = self._wheels / name
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        _checked(build, cwd=project)
        (wheel,) = folder.glob("*.whl")
        return Path(wheel)


class Team:
    """One repository: commands run in its folder, with one of its environments."""

    def __init__(self, folder: Path, python: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.data = folder.parent / "data" / folder.name
        self.python = python
        # Nothing from this clone or the caller's environment: the folder and the wheels must
        # suffice.
        kept = ("HOME", "LANG", "XDG_CACHE_HOME")
        self._environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            **environment,
            "PATH": f"{python.parent}{os.pathsep}{os.defpath}",
            "TMPDIR": str(folder.parent),
            "PYTHONUTF8": "1",
            "COLUMNS": "120",
        }

    def deployed(self, python: Path) -> Team:
        """The same repository with another release."""
        return Team(self.folder, python, self._environment)

    def messaging(self, *words: str) -> Done:
        """Run `messaging ...`, the command from the wheel."""
        return self._run([self.python.with_name("messaging"), *words])

    def python_m(self, *words: str) -> Done:
        """`python -m ...`."""
        return self._run([self.python, "-m", *words])

    def tests(self) -> Done:
        """Run the repository's tests."""
        self._environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins of other packages
        return self.python_m("pytest", "-q", "-p", "no:cacheprovider")

    def start(self, consumer: str) -> Service:
        """Run `messaging run CONSUMER` from the installed wheels, in a folder that only has its
        data."""
        self.data.mkdir(parents=True, exist_ok=True)
        return Service(self.python, consumer, self.data, self._environment)

    def _run(self, command: Sequence[str | Path]) -> Done:
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return Done(ended.returncode, ended.stdout, ended.stderr)


class Service:
    """A service that runs until it is stopped."""

    def __init__(
        self, python: Path, consumer: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._log = folder / "servico.log"
        command = [python.with_name("messaging"), "run", consumer, "--wait", "1", "--json"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C only reaches the script, which then stops them
            )

    @property
    def log(self) -> str:
        """The service's output so far, of all its releases."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def ended(self) -> bool:
        """True if it has stopped unexpectedly."""
        return self.process.poll() is not None

    def stop(self) -> dict[str, Any]:
        """Ask it to stop, and return its worker's final statistics."""
        self.process.terminate()
        try:
            out, _ = self.process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            return {"stopped": False}
        if self.process.returncode:
            return {"exit code": self.process.returncode}
        (stats,) = json.loads(out)["services"].values()
        return dict(stats)

    def kill(self) -> None:
        """Kill it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def _checked(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{ended.stdout}{ended.stderr}")
