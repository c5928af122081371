"""Programs that check files, from an environment of their own: see `validators` in pyproject.toml.

`make test` makes the environment beside the one that runs the tests. A test that finds none makes
it, too, so that a single file of tests can be run.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def program(name: str) -> Path:
    """A program of the environment."""
    make = [sys.executable, ROOT / "tools" / "environment.py", "validators"]
    subprocess.run(make, env={**os.environ, "VENV": sys.prefix}, check=True)
    return Path(f"{sys.prefix}-validators") / "bin" / name


def said(name: str, *arguments: str | Path, given: str = "") -> tuple[int, str]:
    """What a program ended with, and what it wrote."""
    done = subprocess.run(
        [program(name), *arguments], input=given, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def kubernetes(*objects: Any) -> Sequence[list[str]]:
    """What the API server would say of each object."""
    script = Path(__file__).with_name("kubernetes_models.py")
    status, text = said("python", "-I", script, given=json.dumps(objects))
    assert status == 0, text
    return list(json.loads(text))
