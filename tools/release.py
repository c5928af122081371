"""Gets a release ready, and stops at the first thing that is not: `make release`.

    python tools/release.py           check everything, build, try the wheel; nothing is published
    python tools/release.py --notes   print what CHANGELOG.md says of this version

It checks that the version in pyproject.toml has a dated section in CHANGELOG.md and no tag, that
nothing is uncommitted, builds the wheel and the source archive into dist/, and installs the wheel
into an empty environment in an empty folder, once bare and once with its command line, where a
service must publish, handle and dead-letter. RELEASING.md says what comes after.
"""

import re
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SERVICE = textwrap.dedent("""
    import sys
    from messaging import Consumer, Event, MemoryBroker, Publisher, Reject, Topology, handles
    from messaging.testing import FakeClock, drain

    class AlunoCadastrado(Event, type="aluno.cadastrado", version=1):
        nome: str

    class Secretaria(Consumer):
        @handles
        def enrolled(self, aluno: AlunoCadastrado) -> None:
            if not aluno.nome:
                raise Reject("nome is empty")

    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Secretaria, topic="alunos"), clock=clock)
    publisher = Publisher(broker.topic(), source="/release")
    publisher.publish_many([AlunoCadastrado(nome="Ana"), AlunoCadastrado(nome="")])
    drained = drain(broker, Secretaria(), clock=clock)
    assert (drained.acknowledged, drained.dead_lettered) == (1, 1), drained
    assert "site-packages" in sys.modules["messaging"].__file__
""")


def main(arguments):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    notes = notes_of(version)
    if "--notes" in arguments:
        print(notes)
        return
    check_tree(version)
    wheel = build(version)
    for extra in ("", "[cli]"):
        try_wheel(wheel, extra, version)
    print(f"\n{wheel.name} is ready. RELEASING.md says how it is tagged and published.")


def notes_of(version):
    """The section of this version in the changelog, which must have a date."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    heading = rf"^## \[?{re.escape(version)}\]? - (\d{{4}}-\d\d-\d\d)$"
    found = re.search(heading + r"\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        sys.exit(f'CHANGELOG.md has no section "## {version} - YYYY-MM-DD": write what is new')
    if not found[2].strip():
        sys.exit(f"the section of {version} in CHANGELOG.md is empty")
    return found[2].strip()


def check_tree(version):
    if run("git", "status", "--porcelain").strip():
        sys.exit("there are uncommitted changes: commit or remove them first")
    if run("git", "tag", "--list", f"v{version}").strip():
        sys.exit(f"v{version} is tagged already: raise the version in pyproject.toml")


def build(version):
    dist = ROOT / "dist"
    for old in dist.glob("*"):
        old.unlink()
    run(sys.executable, "-m", "hatchling", "build")
    (wheel,) = dist.glob(f"*-{version}-*.whl")
    say(f"built {wheel.name} ({wheel.stat().st_size / 1024:.0f} KiB)")
    return wheel


def try_wheel(wheel, extra, version):
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "env", with_pip=True)
        python = Path(folder) / "env" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", f"{wheel}{extra}", cwd=folder)
        run(python, "-m", "pip", "check", cwd=folder)
        (Path(folder) / "servico.py").write_text(SERVICE)
        run(python, "servico.py", cwd=folder)
        if extra:
            said = run(python.with_name("messaging"), "--version", cwd=folder)
            if version not in said:
                sys.exit(f"messaging --version says {said.strip()!r}, and not {version}")
    say(f"installed {wheel.name}{extra} into an empty environment: it works")


def run(*command, cwd=ROOT):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
