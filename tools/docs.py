"""Builds the documentation into site/ and looks at what was built; any complaint is an error.

python tools/docs.py build          build stable and next, then check
python tools/docs.py version NAME [RELEASE]     build only this tree, as the version of that name
python tools/docs.py check          only check the site that stands
python tools/docs.py photograph     pictures, desk and phone, light and dark, into artefatos/site/
python tools/docs.py consoles       type the pages' console sessions, and compare what is printed;
                                        --short takes few rows, and compares no figures of them
python tools/docs.py record PAGE... write what is printed into PAGE and its translation
python tools/docs.py stamp PAGE...  record that docs/pt/PAGE translates docs/PAGE as it is now;
                                        README.pt-BR.md is such a page, too
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from docsite import browser, consoles, pages, search_index, sources, versions

SITE = pages.SITE
OUTPUT_LINE = re.compile(r'<span class="go">([^<]*)</span>\n')
"""A line that a command printed. Its end goes into the element, which the copy button skips."""
EMPTY_OUTPUT = re.compile(r'(?<=</span>\n)\n(?=<span class="g[op]">)')
SHIM = re.compile(r'src="https://unpkg\.com/iframe-worker/shim"')


def build() -> None:
    """Write the site: the newest release in `stable`, and this tree in `next`.

    A release is built by its own tools. Before there is one, both versions are this tree.
    """
    shutil.rmtree(SITE, ignore_errors=True)
    tag = versions.released(sources.ROOT)
    release = (tag or "").removeprefix("v")
    if tag is None:
        print("no release has a site: stable is built from this tree, too")
        version(versions.STABLE)
    else:
        with tempfile.TemporaryDirectory() as folder:
            versions.export(sources.ROOT, tag, Path(folder))
            command = [sys.executable, "tools/docs.py", "version", versions.STABLE, release]
            subprocess.run(command, cwd=folder, check=True)
            shutil.copytree(Path(folder, "site"), SITE)
    version(versions.NEXT, release)
    versions.connect(SITE, sources.SITE_URL)
    pages.write_sitemap()


def version(name: str, release: str = "") -> None:
    """Write one version of the site: the English pages, and the Portuguese ones in its `pt`."""
    made = SITE / name
    shutil.rmtree(made, ignore_errors=True)
    made.parent.mkdir(exist_ok=True)
    folders = sources.write(name, release)
    with ThreadPoolExecutor() as beside:
        list(beside.map(_generate, folders.values()))
    for language, folder in folders.items():
        shutil.move(folder / "site", made if language == "en" else made / language)
    for path in made.rglob("*.html"):
        _mend(path, made)
    for folder in (made, made / "pt"):
        search_index.improve(folder)
        (folder / "sitemap.xml").unlink(missing_ok=True)
    search_index.translate(made / "pt")
    # A server shows one such page for all, in both languages.
    (made / "pt" / "404.html").unlink()
    if name != versions.STABLE:
        (made / "404.html").unlink()
    else:
        (made / "404.html").replace(SITE / "404.html")
        (SITE / "agents.md").write_text((sources.ROOT / "messaging" / "AGENTS.md").read_text())
        (SITE / "llms.txt").write_text(sources.llms_txt())


def _generate(folder: Path) -> None:
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--clean", "--strict"], cwd=folder, check=True)


def _mend(path: Path, site: Path) -> None:
    """What the generator would load from another host is put beside the pages."""
    top = site / "pt" if path.is_relative_to(site / "pt") else site
    up = "../" * (len(path.relative_to(top).parts) - 1)
    if path.name == "404.html":  # it is shown for an address of any depth
        up = urlsplit(sources.STABLE_URL).path
    text = path.read_text().replace("<span></span><code>", '<code tabindex="0">')
    text = SHIM.sub(f'src="{up}assets/worker-from-disk.js"', text)
    text = EMPTY_OUTPUT.sub('<span class="go">\n</span>', text)
    path.write_text(OUTPUT_LINE.sub(r'<span class="go">\1\n</span>', text))


def check() -> None:
    """Say what is wrong with the sources and the site, and end if anything is."""
    with ThreadPoolExecutor() as beside:  # most of the browser's time is another process's
        looked = beside.submit(lambda: list(browser.complaints()))
        found = [*sources.DOCS.complaints(), *pages.complaints(), *looked.result()]
    waiting = len(sources.DOCS.listed())
    print(f"{len(pages.read())} pages in {SITE.name}/, {len(found)} complaints")
    if waiting:
        print(f"{waiting} pages wait for a translation: {sources.DOCS.untranslated}")
    if found:
        sys.exit("\n".join(found))


def stamp(names: list[str]) -> None:
    for name in names:
        page = name.removeprefix("docs/").removeprefix("pt/").replace(".pt-BR.md", ".md")
        if page != "README.md" and not (sources.DOCS.portuguese / page).exists():
            sys.exit(f"docs/pt/{page} is not there: translate docs/{page} first")
        sources.DOCS.stamp(page)
        print(f"{name} is a translation of the English page as it is now")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["build"]:
            build()
            check()
        case ["version", name, *release] if name in versions.VERSIONS:
            version(name, *release)
        case ["check"]:
            check()
        case ["photograph"]:
            browser.photograph(sources.ROOT / "artefatos" / "site")
        case ["consoles", *short] if short in ([], ["--short"]):
            wrong = list(consoles.complaints(sources.DOCS.pages(), short=bool(short)))
            if wrong:
                sys.exit("\n\n".join(wrong))
        case ["record", *names] if names:
            list(consoles.complaints([name.removeprefix("docs/") for name in names], record=True))
        case ["stamp", *names] if names:
            stamp(names)
        case _:
            sys.exit(__doc__)
