"""For the reference: completes each docstring's table of parameters before it is shown.

A docstring with a paragraph "See `Other.method`." has the parameters of the method it names; a
method without `Args:` those of the base's method that it overrides; a field its own text. The
`Args:` of a class whose `__init_subclass__` takes them are shown as keyword arguments, with their
types. A list in the house style (a name, two or more spaces, its meaning) becomes a definition
list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Class, Docstring, Extension, Function, Module, Object, ParameterKind

_ITEM = re.compile(r"(?P<name>[\w.*]+) {2,}(?P<text>\S.*)")
_AS = re.compile(r"^(?:As|See|The parameters are those of) `([\w.]+)`[.,:;]", re.M)
_ARGS = re.compile(r"^Args:\n((?:(?:    .*)?(?:\n|\Z))+)", re.M)
_SECTION = re.compile(r"^((?:Raises|Example):\n)", re.M)
_ARGUMENT = re.compile(r"^    \*{0,2}(\w+): (.*(?:\n        .*)*)", re.M)


class DefinitionLists(Extension):
    """Rewrites docstrings as they are read, and once more when all of them have been."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            paragraphs = re.split(r"\n\n+", obj.docstring.value)
            obj.docstring.value = "\n\n".join(map(definition_list, paragraphs))

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Called by griffe when every module of a package has been read."""
        everything = list(_objects(pkg))
        by_name = {one.path.removeprefix(f"{one.module.path}."): one for one in everything}
        for one in everything:
            if isinstance(one, Class | Function):
                _complete(one, by_name)


def definition_list(paragraph: str) -> str:
    """The paragraph as it is, or as a Markdown definition list if it is one in the house's way."""
    items: list[tuple[str, list[str]]] = []
    for line in paragraph.splitlines():
        found = _ITEM.fullmatch(line)
        if found:
            items.append((found["name"], [found["text"]]))
        elif items and line.startswith("  "):
            items[-1][1].append(line.strip())
        else:
            return paragraph
    return "\n\n".join(f"`{name}`\n:   " + "\n    ".join(text) for name, text in items)


def _objects(inside: Object) -> Iterator[Object]:
    for one in inside.members.values():
        if isinstance(one, Object):
            yield one
            yield from _objects(one)


def _complete(one: Class | Function, by_name: dict[str, Object]) -> None:
    """Give `one` the arguments that others describe, in the order of its signature."""
    known = _described(one, by_name)
    own, keywords = _arguments(one), _class_keywords(one)
    text = "" if one.docstring is None else one.docstring.value
    if own and own.keys() <= keywords.keys():
        lines = [f"    {name} ({keywords[name]}): {meaning}" for name, meaning in own.items()]
        # These have no column for a default: None stands for one that is not given.
        table = "Keyword Args: Keyword arguments of a subclass:\n" + "\n".join(lines) + "\n"
        _give(one, _ARGS.sub(lambda _: table + "\n", text, count=1))
        return
    takes = [parameter.name for parameter in one.parameters] or _dataclass_fields(one)
    if not own and not any(name in known for name in takes):
        return
    lines = [f"    {name}: {known[name]}" for name in takes if name in known]
    lines += [f"    {name}: {meaning}" for name, meaning in own.items() if name not in takes]
    # griffe sees no signature of a NamedTuple and of a pydantic model: their fields are attributes.
    title = "Args" if any(name in takes for name in own or known) else "Attributes"
    table = f"{title}:\n" + "\n".join(lines) + "\n"
    if own:
        text = _ARGS.sub(lambda _: table + "\n", text, count=1)
    else:
        before, *section = _SECTION.split(text, maxsplit=1)
        text = f"{before.rstrip()}\n\n{table}\n{''.join(section)}"
    _give(one, text)


def _class_keywords(one: Class | Function) -> dict[str, str]:
    """What stands beside the base of a subclass, with its type."""
    hook = one.members.get("__init_subclass__")
    if not isinstance(one, Class) or not isinstance(hook, Function):
        return {}
    by_name = [each for each in hook.parameters if each.kind is ParameterKind.keyword_only]
    return {each.name: str(each.annotation) for each in by_name}


def _give(one: Class | Function, text: str) -> None:
    # One of its own, so that nothing that was parsed before is kept.
    given = one.docstring or one.module.docstring
    parser, options = (given.parser, given.parser_options) if given else (None, None)
    one.docstring = Docstring(text, parent=one, parser=parser, parser_options=options)


def _arguments(one: Object) -> dict[str, str]:
    found = None if one.docstring is None else _ARGS.search(one.docstring.value)
    return {} if found is None else dict(_ARGUMENT.findall(found[1]))


def _described(one: Object, by_name: dict[str, Object]) -> dict[str, str]:
    found = dict(_fields(one)) if isinstance(one, Class) else _overridden(one, by_name)
    for name in _AS.findall("" if one.docstring is None else one.docstring.value):
        found |= _described(by_name[name], by_name)
    return found | _arguments(one)


def _fields(one: Class) -> Iterator[tuple[str, str]]:
    for name, member in one.attributes.items():
        if member.docstring is not None and "property" not in member.labels:
            yield name, " ".join(member.docstring.value.split())


def _dataclass_fields(one: Class | Function) -> list[str]:
    """What its `__init__` will take, which griffe makes later than this."""
    if isinstance(one, Class) and any("dataclass" in str(by.value) for by in one.decorators):
        return [name for name, member in one.attributes.items() if "property" not in member.labels]
    return []


def _overridden(one: Object, by_name: dict[str, Object]) -> dict[str, str]:
    found: dict[str, str] = {}
    if isinstance(one.parent, Class):
        for base in one.parent.bases:
            there = by_name.get(f"{str(base).partition('[')[0]}.{one.name}")
            if isinstance(there, Function):
                found |= _described(there, by_name)
    return found
