"""The site holds two versions, and each page leads to itself in the other one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tools.docsite.versions import TOOL, connect, export, released

URL = "https://example.test/docs/"
PAGE = """<html><head>
<link rel="canonical" href="https://example.test/docs/stable/{path}">
    <link rel="alternate" hreflang="en" href="https://example.test/docs/stable/{path}">
<meta property="og:url" content="https://example.test/docs/stable/{path}">
</head>
<a href="{up}stable/{path}" data-version="stable">stable</a>
<a href="{up}next/{path}" data-version="next">next</a>
"""


def git(repository: Path, *arguments: str) -> None:
    author = ("-c", "user.name=A", "-c", "user.email=a@example.test")
    subprocess.run(["git", "-C", str(repository), *author, *arguments], check=True)


def committed(repository: Path, name: str, text: str) -> None:
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A release from before the site had versions, and one commit that can build them."""
    made = tmp_path / "repository"
    made.mkdir()
    git(made, "init", "--quiet")
    committed(made, "README.md", "messaging\n")
    git(made, "tag", "v99.0.0")
    committed(made, TOOL, "of the release\n")
    return made


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two pages in both languages, of which one is only in next; and one that only stable has."""
    made = tmp_path / "site"
    new = ["how-to/new.html", "pt/how-to/new.html"]
    for version, more in (("stable", ["old.html"]), ("next", new)):
        for path in ["index.html", "pt/index.html", "how-to/run.html", "pt/how-to/run.html", *more]:
            (made / version / path).parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (path.count("/") + 1)
            (made / version / path).write_text(PAGE.format(up=up, path=path))
    connect(made, URL)
    return made


def switches(page: Path) -> dict[str, str]:
    return {
        name: link
        for link, name in re.findall(r'<a href="([^"]+)" data-version="(\w+)"', page.read_text())
    }


def test_stable_is_the_newest_release_and_no_candidate(repository: Path) -> None:
    for tag in ("v0.9.0", "v0.10.0", "v0.11.0rc1", "latest"):
        git(repository, "tag", tag)
    assert released(repository) == "v0.10.0"


def test_before_a_release_can_build_its_pages_there_is_none(repository: Path) -> None:
    assert released(repository) is None


def test_a_copy_without_git_has_no_release(tmp_path: Path) -> None:
    assert released(tmp_path) is None


def test_a_machine_without_git_builds_the_tree(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "tag", "v1.0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert released(repository) is None


def test_stable_is_built_from_the_files_of_the_release(repository: Path, tmp_path: Path) -> None:
    git(repository, "tag", "v1.0.0")
    committed(repository, TOOL, "of today\n")
    export(repository, "v1.0.0", tmp_path / "stable")
    assert (tmp_path / "stable" / TOOL).read_text() == "of the release\n"
    assert not (tmp_path / "stable" / ".git").exists()


@pytest.mark.parametrize("language", ["", "pt/"])
def test_the_switch_stays_on_the_page(site: Path, language: str) -> None:
    up = "../../" if language == "" else "../../../"
    assert switches(site / "next" / language / "how-to" / "run.html") == {
        "stable": f"{up}stable/{language}how-to/run.html",
        "next": f"{up}next/{language}how-to/run.html",
    }


@pytest.mark.parametrize("language", ["", "pt/"])
def test_a_page_that_is_new_leads_to_the_start_of_stable(site: Path, language: str) -> None:
    page = site / "next" / language / "how-to" / "new.html"
    target = page.parent / switches(page)["stable"]
    assert target.resolve() == site / "stable" / language / "index.html"


def test_a_page_that_was_removed_leads_to_the_start_of_next(site: Path) -> None:
    assert switches(site / "stable" / "old.html")["next"] == "../next/index.html"


def test_search_engines_are_led_from_next_to_stable(site: Path) -> None:
    text = (site / "next" / "how-to" / "run.html").read_text()
    assert f'<link rel="canonical" href="{URL}stable/how-to/run.html">' in text
    assert "noindex" not in text  # which would take the stable page out, too


def test_a_page_that_no_release_has_is_not_for_search_engines(site: Path) -> None:
    text = (site / "next" / "how-to" / "new.html").read_text()
    assert '<meta name="robots" content="noindex">' in text
    assert f'<link rel="canonical" href="{URL}next/how-to/new.html">' in text
    assert f'content="{URL}next/how-to/new.html"' in text
    assert "hreflang" not in text


@pytest.mark.parametrize(
    ("address", "language", "target"),
    [
        ("index.html", "en", "stable/index.html"),
        ("pt/index.html", "pt-BR", "../stable/pt/index.html"),
        ("pt/how-to/run.html", "pt-BR", "../../stable/pt/how-to/run.html"),
        ("old.html", "en", "stable/old.html"),
    ],
)
def test_an_address_without_a_version_leads_to_stable_without_a_script(
    site: Path, address: str, language: str, target: str
) -> None:
    text = (site / address).read_text()
    assert f'<meta http-equiv="refresh" content="0; url={target}">' in text
    assert f'<a href="{target}">' in text
    assert f'<html lang="{language}">' in text
    assert (site / address).parent.joinpath(target).exists()


def test_what_only_next_has_got_no_address_without_a_version(site: Path) -> None:
    assert not (site / "how-to" / "new.html").exists()
