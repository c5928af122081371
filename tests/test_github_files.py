"""The workflows and issue forms of .github are what GitHub takes, by its published schemas."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.validators import said

GITHUB = Path(__file__).resolve().parents[1] / ".github"
SCHEMAS = {
    "github-workflows": sorted(GITHUB.glob("workflows/*.yml")),
    "github-issue-forms": sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")),
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
}


def check(schema: str, *files: Path) -> tuple[int, str]:
    return said("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_files_are_as_githubs_schema_has_them(schema: str) -> None:
    assert SCHEMAS[schema]
    assert check(schema, *SCHEMAS[schema]) == (0, "ok -- validation done\n")


def test_a_workflow_with_an_unknown_word_would_be_refused(tmp_path: Path) -> None:
    text = (GITHUB / "workflows" / "ci.yml").read_text()
    broken = tmp_path / "ci.yml"
    broken.write_text(text.replace("timeout-minutes: 45", "timeout: 45"))
    status, complaint = check("github-workflows", broken)
    assert status == 1
    assert "timeout" in complaint
