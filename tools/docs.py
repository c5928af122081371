"""Builds the documentation into site/ and looks at what was built; any complaint is an error.

python tools/docs.py build          build, then check
python tools/docs.py check          only check the site that stands
python tools/docs.py photograph     pictures of eight pages, both languages, into artefatos/site/
python tools/docs.py stamp PAGE...  record that docs/pt/PAGE translates docs/PAGE as it is now;
                                        README.pt-BR.md is such a page, too
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from docsite import browser, pages, search_index, sources

SITE = pages.SITE
OUTPUT_LINE = re.compile(r'<span class="go">([^<]*)</span>\n')
"""A line that a command printed. Its end goes into the element, which the copy button skips."""
SHIM = re.compile(r'src="https://unpkg\.com/iframe-worker/shim"')


def build() -> None:
    """Write the site: the English one, and the Portuguese one in its folder `pt`."""
    shutil.rmtree(SITE, ignore_errors=True)
    for language, folder in sources.write().items():
        zensical = Path(sys.executable).with_name("zensical")
        subprocess.run([zensical, "build", "--clean", "--strict"], cwd=folder, check=True)
        shutil.move(folder / "site", SITE if language == "en" else SITE / language)
    # A server shows one such page for both, and the English one is in both languages.
    (SITE / "pt" / "404.html").unlink()
    for path in SITE.rglob("*.html"):
        _mend(path)
    search_index.improve(SITE)
    search_index.improve(SITE / "pt")
    pages.write_sitemap()
    guide = (sources.ROOT / "messaging" / "AGENTS.md").read_text()
    (SITE / "agents.md").write_text(guide)
    (SITE / "llms.txt").write_text(sources.llms_txt())


def _mend(path: Path) -> None:
    """What the generator would load from another host is put beside the pages."""
    top = SITE / "pt" if path.is_relative_to(SITE / "pt") else SITE
    up = "../" * (len(path.relative_to(top).parts) - 1)
    text = path.read_text().replace("<span></span><code>", '<code tabindex="0">')
    text = SHIM.sub(f'src="{up}assets/worker-from-disk.js"', text)
    path.write_text(OUTPUT_LINE.sub(r'<span class="go">\1\n</span>', text))


def check() -> None:
    """Say what is wrong with the sources and the site, and end if anything is."""
    found = [*sources.DOCS.complaints(), *pages.complaints(), *browser.complaints()]
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
        case ["check"]:
            check()
        case ["photograph"]:
            browser.photograph(sources.ROOT / "artefatos" / "site")
        case ["stamp", *names] if names:
            stamp(names)
        case _:
            sys.exit(__doc__)
