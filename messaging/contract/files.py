"""Reads and writes catalogues and needs: one file, a folder, or the objects at a URL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from messaging.errors import ConfigurationError

__all__ = ["Fetch", "document_at", "documents_at", "written"]

Fetch = Callable[[str], Mapping[str, bytes]]
"""Returns the object at a URL, or those below it if it is a folder, as name to content."""


def document_at(where: str, fetch: Fetch | None = None) -> Any:
    """The one JSON document at `where`. Raises `ConfigurationError` unless there is exactly one."""
    found = list(documents_at(where, fetch))
    if len(found) > 1:
        raise ConfigurationError(
            f"{where}: {len(found)} documents; name the one: {', '.join(name for name, _ in found)}"
        )
    return found[0][1]


def documents_at(where: str, fetch: Fetch | None = None) -> Iterator[tuple[str, Any]]:
    """The JSON documents at `where` by name: a file, the *.json of a folder, or a URL's.

    Raises `ConfigurationError`, which says what is missing or unreadable.
    """
    if "://" in where:
        if fetch is None or not where.startswith("s3://"):
            raise ConfigurationError(f"{where}: files, folders and s3:// are read")
        texts = dict(fetch(where))
        nothing = f"{where}: no .json there"
    else:
        texts, nothing = _local(Path(where)), f"{where}: no .json in this folder"
    if not texts:
        raise ConfigurationError(nothing)
    for name, content in sorted(texts.items()):
        yield name, _json(name, content)


def written(document: Any) -> str:
    """The text of a document: deterministic, with one item per line."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _local(path: Path) -> dict[str, bytes]:
    try:
        if path.is_dir():
            found = [one for one in path.glob("*.json") if one.is_file()]
            return {str(one): one.read_bytes() for one in found}
        return {str(path): path.read_bytes()}
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file or folder") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None


def _json(name: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: not JSON (not text in UTF-8)") from None
    except RecursionError:
        raise ConfigurationError(f"{name}: not JSON that can be read (nested too deep)") from None
    except json.JSONDecodeError as error:
        start = content.lstrip()[:20]
        if name.endswith((".yaml", ".yml")) or start.startswith((b"asyncapi:", b"---", b"needs:")):
            raise ConfigurationError(
                f"{name}: YAML; JSON is read, as `messaging contract` writes it"
            ) from None
        raise ConfigurationError(
            f"{name}: not JSON ({error.msg} at line {error.lineno}, column {error.colno})"
        ) from None
