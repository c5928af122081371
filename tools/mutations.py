"""Which mutants a module has: cosmic-ray's operators, and two of our own, without the pointless.

Cosmic-ray replaces each operator by every other (`+` by ten), and annotations like code. Here each
operator is turned round once and each limit moved by one, and a mutant that differs only in
annotations is none. It knows no mutant that leaves a statement out: those are ours.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any, NamedTuple

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Name

COMPARISONS = "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot"
BINARIES = "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitOr_BitAnd BitAnd_BitOr"
NAMES = (
    *(f"ReplaceComparisonOperator_{name}" for name in f"{COMPARISONS} IsNot_Is".split()),
    *(f"ReplaceBinaryOperator_{name}" for name in BINARIES.split()),
    *"AddNot ReplaceUnaryOperator_Delete_Not ReplaceUnaryOperator_Delete_USub".split(),
    *"ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd".split(),
    *"ReplaceBreakWithContinue ReplaceContinueWithBreak ExceptionReplacer NumberReplacer".split(),
    *"RemoveDecorator ZeroIterationForLoop".split(),
)


class LeaveOutStatement(Operator):
    """`pass` for a call, an assignment to an attribute or item, `x += 1`, `raise` or `del`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.parent is None or node.parent.type != "simple_stmt":
            return
        call = node.type == "atom_expr" and node.get_last_leaf() == ")"
        kept = node.type == "expr_stmt" and (
            node.children[0].type != "name" or node.children[1].type == "operator_aug"
        )
        added = node.type == "expr_stmt" and str(getattr(node.children[1], "value", "")) != "="
        typed = node.type == "expr_stmt" and node.children[1].type == "annassign"
        if call or ((kept or added) and not typed) or node.type in ("raise_stmt", "del_stmt"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return Name("pass", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class ReturnNothing(Operator):
    """`return x` becomes `return None`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "return_stmt" and len(node.children) > 1 and node.children[1] != "None":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return Name("return None", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class Place(NamedTuple):
    """One change that an operator can make; `occurrence` counts those of the module from 0."""

    path: str
    line: int
    operator: Any
    occurrence: int


@dataclass(frozen=True)
class Mutant:
    """One change of one module. `was` and `becomes` are the lines that differ, without indents."""

    path: str
    line: int
    was: str
    becomes: str
    code: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}\n    - {self.was}\n    + {self.becomes}"


def places_of(root: Path, path: str) -> list[Place]:
    """Where the module at `path` below `root` can be changed: a little more than its mutants."""
    nodes = list(ast_nodes(get_ast((root / path).read_text())))
    return [
        Place(path, start[0], operator, occurrence)
        for operator in _operators()
        for occurrence, (start, _) in enumerate(
            at for node in nodes for at in operator.mutation_positions(node)
        )
    ]


def mutants_at(root: Path, places: Iterable[Place]) -> Iterator[Mutant]:
    """The mutant of each place, but none that changes nothing, nor the same one twice."""
    sources: dict[str, str] = {}
    seen: set[tuple[str, str | None]] = set()
    for path, line, operator, occurrence in places:
        if path not in sources:
            sources[path] = (root / path).read_text()
            seen.add((path, _meaning(sources[path])))
        code = mutate_code(sources[path], operator, occurrence)
        meaning = _meaning(code) if code else None
        if code is None or meaning is None or (path, meaning) in seen:
            continue
        seen.add((path, meaning))
        was, becomes = _difference(sources[path], code)
        if becomes != was.replace("*,", "/,"):  # the star of a signature is no product
            yield Mutant(path, line, was, becomes, code)


def _operators() -> list[Any]:
    named = [cosmic_ray.plugins.get_operator(f"core/{name}")() for name in NAMES]
    return [*named, LeaveOutStatement(), ReturnNothing()]


def _difference(source: str, code: str) -> tuple[str, str]:
    lines = list(unified_diff(source.splitlines(), code.splitlines(), n=0))[3:]
    return (
        " ".join(line[1:].strip() for line in lines if line.startswith("-")),
        " ".join(line[1:].strip() for line in lines if line.startswith("+")),
    )


_CHECKED = {"frozen", "kw_only", "slots"}
"""Arguments of a dataclass whose breach is the type checker's to find, not a test's."""


class _Bare(ast.NodeTransformer):
    """Takes away what changes nothing when correct code runs."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if any(ast.unparse(base).startswith("Protocol") for base in node.bases):
            return ast.Pass()  # for the type checker alone
        for one in node.decorator_list:
            if isinstance(one, ast.Call) and ast.unparse(one.func).endswith("dataclass"):
                one.keywords = [word for word in one.keywords if word.arg not in _CHECKED]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Name("object", ast.Load())
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if re.search(r"\bTYPE_CHECKING\b", ast.unparse(node.test)):
            return ast.Pass()
        return self.generic_visit(node)


def _meaning(code: str) -> str | None:
    try:
        return ast.dump(_Bare().visit(ast.parse(code)))
    except SyntaxError:  # a replacement that is no Python: nothing to try
        return None
