"""Installs the lowest or the newest boto3, pydantic and tenacity that pyproject.toml allows.

    python tools/bounds.py lowest | newest

Run by the Python of a virtual environment that `make` made (VENV), which it changes: `make
test-bounds` has one for each. The lowest is what stands after ">=" in `[project].dependencies`; the
newest is what the package index has today, so it is no lock, and a new release is met here first.
"""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(bound: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = dict(wanted.split(">=") for wanted in project["dependencies"])
    floors["botocore"] = floors["boto3"]  # released together, with one number
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if bound == "lowest":
        # "1.43" means 1.43.0: the first release of it, not the last.
        wanted = [f"{name}=={floor}" for name, floor in floors.items()]
    else:
        wanted = ["--upgrade", *floors]
    subprocess.run([*pip, *wanted], check=True)
    print(bound + ":", ", ".join(f"{name} {version(name)}" for name in floors))


if __name__ == "__main__":
    if sys.argv[1:] not in (["lowest"], ["newest"]):
        sys.exit(__doc__)
    main(sys.argv[1])
