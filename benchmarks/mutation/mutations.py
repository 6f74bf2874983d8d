"""Small wrong edits of a module's syntax tree, one at a time.

Not edited, because no test should look at them: docstrings, annotations, decorators, imports, `__all__`, what a `raise`
says (but the `raise` itself is removed), the names under which a value is validated, f-strings, and `strict=` of `zip`.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

__all__ = ["Mutant", "mutants_of"]

_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
_NAMES = {
    "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max", "any": "all", "all": "any",
    "argmax": "argmin", "argmin": "argmax", "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like",
    "ones_like": "zeros_like", "expm1": "exp", "log1p": "log", "floor": "ceil", "ceil": "floor", "sum": "mean",
    "mean": "sum", "isposinf": "isneginf", "isneginf": "isposinf", "add": "subtract", "subtract": "add",
    "softplus": "log_sigmoid", "log_sigmoid": "softplus", "abs": "sign", "sqrt": "square", "square": "sqrt",
}  # fmt: skip
# Their first argument is the name that an error message gives the value.
_VALIDATORS = {
    "array", "batch", "finite", "flip_probability", "indices", "instance", "lengths_of", "log_probabilities", "matrix",
    "non_negative_number", "number", "per_example", "positive_number", "probability_weights",
    "reference_log_probabilities", "reject", "same_size", "vector", "whole_number",
}  # fmt: skip
# The order of their first two arguments does not matter.
_SYMMETRIC = {"maximum", "minimum", "logaddexp", "max", "min", "precision", "hypot", "array_equal", "_dot"}
_NEVER = {"annotation", "returns", "decorator_list", "type_params", "exc", "cause", "bases"}


@dataclass(frozen=True, eq=False)
class Mutant:
    """One edit: `holder.field` (or its element at `index`) becomes `replacement`.

    `lines` are those of the statement, or of a compound statement's head; `inside` is the function that it is in, empty
    for what runs at import.
    """

    key: str
    operator: str
    lines: range
    inside: str
    tree: ast.Module
    path: Path
    holder: ast.AST
    field: str
    index: int | None
    replacement: object

    def code(self) -> CodeType:
        """The edited module, compiled. The tree stays edited: call it in a process of its own."""
        if self.index is None:
            setattr(self.holder, self.field, self.replacement)
        else:
            getattr(self.holder, self.field)[self.index] = self.replacement
        return compile(ast.fix_missing_locations(self.tree), str(self.path), "exec", dont_inherit=True)


def _with(node: ast.AST, **changes: object) -> ast.AST:
    result = copy.copy(node)
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _expression_edits(node: ast.AST, holder: ast.AST, field: str) -> Iterator[tuple[str, ast.AST]]:
    """What an expression may become."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield "arithmetic", _with(node, op=_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield "sign or negation", node.operand
    elif isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                yield "comparison", _with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
    elif isinstance(node, ast.BoolOp):
        yield "boolean", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", _with(node, value=not node.value)
        elif isinstance(node.value, (int, float)):
            yield "constant", _with(node, value=node.value + 1)
        elif isinstance(node.value, str) and isinstance(holder, (ast.Compare, ast.Dict, ast.Return, ast.Subscript)):
            yield "constant", _with(node, value=node.value + "_")
    elif isinstance(node, ast.Call):
        first = 1 if _called(node) in _VALIDATORS else 0
        plain = not any(isinstance(a, ast.Starred) for a in node.args) and _called(node) not in _SYMMETRIC
        if plain and len(set(map(ast.dump, node.args[first : first + 2]))) == 2:
            swapped = [*node.args[:first], node.args[first + 1], node.args[first], *node.args[first + 2 :]]
            yield "arguments swapped", _with(node, args=swapped)
        for i, keyword in enumerate(node.keywords):
            if keyword.arg not in (None, "strict"):
                yield "argument dropped", _with(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])
    if isinstance(node, ast.Attribute) and node.attr in _NAMES and isinstance(node.ctx, ast.Load):
        yield "function", _with(node, attr=_NAMES[node.attr])
    if isinstance(node, ast.Name) and node.id in _NAMES and isinstance(holder, ast.Call) and field == "func":
        yield "function", _with(node, id=_NAMES[node.id])
    # Comparisons and negations are already turned above.
    turned = isinstance(node, (ast.Compare, ast.BoolOp, ast.Constant)) or isinstance(getattr(node, "op", None), ast.Not)
    if field == "test" and not turned:
        yield "condition", ast.UnaryOp(ast.Not(), node)


def _statement_edits(node: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """What a statement may become."""
    if isinstance(node, ast.Return) and not (node.value is None or _is_none(node.value)):
        yield "return None", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in _OPERATORS:
            yield "arithmetic", _with(node, op=_OPERATORS[type(node.op)]())
        yield "statement removed", ast.Pass()
    elif isinstance(node, (ast.Expr, ast.Raise)) or (
        isinstance(node, ast.Assign) and any(isinstance(t, (ast.Subscript, ast.Attribute)) for t in node.targets)
    ):
        yield "statement removed", ast.Pass()
    elif isinstance(node, ast.Break):
        yield "break or continue", ast.Continue()
    elif isinstance(node, ast.Continue):
        yield "break or continue", ast.Break()


def _source(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.AST) -> bool:
    """A docstring, or the value of `__all__`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)


def mutants_of(path: Path, name: str) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    found: list[Mutant] = []
    seen: Counter[str] = Counter()

    def note(operator: str, node: ast.AST, new: ast.AST, place: tuple, inside: str, lines: range) -> None:
        holder, field, index = place
        before, after = (_source(n) for n in (node, new))
        key = f"{name}:{inside or 'module'}: `{before}` → `{after}`"
        seen[key] += 1
        key = key if seen[key] == 1 else f"{key} ({seen[key]})"
        found.append(Mutant(key, operator, lines, inside, tree, path, holder, field, index,
                            ast.copy_location(new, node)))  # fmt: skip

    def visit(node: ast.AST, place: tuple, inside: str, scope: str, lines: range) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr)) or _is_text(node):
            return
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return
        holder, field, _ = place
        if isinstance(node, ast.stmt):
            heads = isinstance(node, (ast.If, ast.While, ast.For, ast.With, ast.FunctionDef, ast.ClassDef, ast.Try))
            lines = range(node.lineno, (node.lineno if heads else node.end_lineno) + 1)
            for operator, new in _statement_edits(node):
                note(operator, node, new, place, inside, lines)
        elif isinstance(node, ast.expr):
            if isinstance(holder, (ast.If, ast.While, ast.For, ast.withitem)):
                lines = range(node.lineno, node.end_lineno + 1)
            for operator, new in _expression_edits(node, holder, field):
                note(operator, node, new, place, inside, lines)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            scope = f"{scope}{node.name}."
        for child_field, value in ast.iter_fields(node):
            if child_field in _NEVER:
                continue
            within = inside
            if isinstance(node, ast.FunctionDef) and child_field == "body" and not inside:
                within = scope.rstrip(".")
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                named = child_field == "args" and isinstance(node, ast.Call) and _called(node) in _VALIDATORS
                if isinstance(child, ast.AST) and not (named and isinstance(child, ast.Constant)):
                    visit(child, (node, child_field, index), within, scope, lines)

    visit(tree, (None, "", None), "", "", range(0))
    return found
