"""The site's two versions, side by side: `stable/`, the newest release, and `next/`, this tree.

Each is built alone, and knows of the other only where it stands: every page links to itself in the
other version. What needs both is done here, when both are there.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

STABLE, NEXT = "stable", "next"
VERSIONS = (STABLE, NEXT)
TOOL = "tools/docsite/versions.py"
"""A release that has this file can build a version of the site."""
RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
SWITCH = re.compile(r'(?<=href=")(?P<link>[^"]+)(?=" data-version=)')
CANONICAL = re.compile(r'<link rel="canonical" href="[^"]+">')
OWN_URL = re.compile(r'(?<=<meta property="og:url" content=")[^"]+')
ALTERNATE = re.compile(r' *<link rel="alternate" hreflang="[^"]+" href="[^"]+">\n')
REDIRECT = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<title>messaging</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="canonical" href="{url}">
<meta http-equiv="refresh" content="0; url={target}">
<script>location.replace("{target}" + location.search + location.hash)</script>
</head>
<body><p><a href="{target}">{text}</a></p></body>
</html>
"""
TEXTS = {
    "en": "This page is in the stable version.",
    "pt-BR": "Esta página está na versão estável.",
}


def released(repository: Path) -> str | None:
    """The tag of the newest release that can build its pages; None before there is one.

    A release candidate is no release. A copy of the files without their history has none, nor has a
    machine without git.
    """
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(repository), "tag", "--list", "v*"]
    tags = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    numbers = {tag: found for tag in tags if (found := RELEASE.fullmatch(tag))}
    newest = sorted(numbers, key=lambda tag: [*map(int, numbers[tag].groups())], reverse=True)
    return next((tag for tag in newest if _can_build(repository, tag)), None)


def _can_build(repository: Path, tag: str) -> bool:
    command = ["git", "-C", str(repository), "cat-file", "-e", f"{tag}:{TOOL}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def export(repository: Path, tag: str, folder: Path) -> None:
    """Write a release's files into a folder, without a trace in the repository."""
    command = ["git", "-C", str(repository), "archive", "--format=zip", tag]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with ZipFile(BytesIO(archive)) as files:
        files.extractall(folder)


def pages(site: Path, version: str) -> Iterator[Path]:
    """The paths of a version's pages, from its folder on."""
    folder = site / version
    return (path.relative_to(folder) for path in sorted(folder.rglob("*.html")))


def connect(site: Path, url: str) -> None:
    """What follows from both versions: switches that lead somewhere, addresses, and redirects."""
    for version in VERSIONS:
        for page in pages(site, version):
            path = site / version / page
            text = SWITCH.sub(
                lambda found, path=path: _leads(path, found["link"]), path.read_text()
            )
            if version == NEXT and not (site / STABLE / page).exists():
                text = _only_in_next(text, f"{url}{NEXT}/{page.as_posix()}")
            path.write_text(text)
    for page in pages(site, STABLE):
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        (site / page).write_text(_redirect(page, url))


def _leads(page: Path, link: str) -> str:
    """The link of a switch; to the start of the other version, where that lacks the page."""
    if (page.parent / link).exists():
        return link
    up, version, rest = re.split(rf"(?<=/)({'|'.join(VERSIONS)})/", link, maxsplit=1)
    return f"{up}{version}/{'pt/' if rest.startswith('pt/') else ''}index.html"


def _only_in_next(text: str, url: str) -> str:
    """A page that no release has is its own original, and not for search engines yet."""
    noindex = f'<link rel="canonical" href="{url}"><meta name="robots" content="noindex">'
    text = ALTERNATE.sub("", CANONICAL.sub(noindex, text))
    return OWN_URL.sub(url, text)


def _redirect(page: Path, url: str) -> str:
    """A page for the address without a version, which leads to the stable one."""
    language = "pt-BR" if page.parts[0] == "pt" else "en"
    name = html.escape(page.as_posix())
    up = "../" * (len(page.parts) - 1)
    return REDIRECT.format(
        language=language,
        url=f"{url}{STABLE}/{name}",
        target=f"{up}{STABLE}/{name}",
        text=TEXTS[language],
    )
