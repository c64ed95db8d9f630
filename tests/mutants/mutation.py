"""Small mistakes made in the source of functions: which there are, and how one is put in the place of the function."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

Change = tuple[str, ast.expr]
"""The kind of a mistake, and what stands in the place of an expression."""

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {"And": "Or", "Or": "And", "Max": "Min", "Min": "Max", "Gather": "GatherElements"}
MOVES = {
    "Transpose": "transpose", "_transposed": "transpose", "SumTo": "un-broadcast", "ExpandTo": "broadcast",
    "reduce_sum": "un-broadcast", "ReduceSum": "un-broadcast", "ReshapeTo": "reshape", "_reshape": "reshape",
    "Squeeze": "reshape", "Unsqueeze": "reshape",
}  # fmt: skip
"""Calls whose mistake is to leave them out: what they are given first takes their place."""
PLACES = {"axis", "axes", "perm", "keepdims", "transA", "transB"}


@dataclass(frozen=True)
class Mutant:
    """One mistake: the statement of `function` in `module` that has it, before and after, and its lines."""

    module: str
    function: str
    kind: str
    before: str
    after: str
    lines: range
    tree: ast.Module
    first_line: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names a mutant as long as the statement stands as it is."""
        return self.module, self.function, self.before, self.after

    def __str__(self) -> str:
        return f"{self.module} {self.function} [{self.kind}]\n    - {self.before}\n    + {self.after}"

    def code(self, file: str) -> CodeType:
        """The code of the function with the mistake in it."""
        return code_at(compile(ast.fix_missing_locations(self.tree), file, "exec"), self.first_line)


def code_at(whole: CodeType, first_line: int) -> CodeType:
    """The outermost function that starts on a line; raises KeyError if there is none."""
    rest = [whole]
    while rest:
        code = rest.pop(0)
        if code.co_firstlineno == first_line and code.co_name not in ("<module>", "<lambda>"):
            return code
        rest.extend(const for const in code.co_consts if isinstance(const, CodeType))
    raise KeyError(first_line)


def starts(function: ast.FunctionDef) -> int:
    """The line that a function's code object gives as its first: that of its first decorator."""
    return min([function.lineno, *(each.lineno for each in function.decorator_list)])


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The functions and methods of a module; those inside another belong to it."""
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                yield inner


def mutants(module: str, name: str, source: str, first_line: int, cotangents: bool) -> Iterator[Mutant]:
    """Every mistake in the function that starts on a line; with `cotangents`, in each value that it returns too."""
    tree = ast.parse(source)
    function = next(each for each in functions(tree) if starts(each) == first_line)
    seen: dict[tuple[str, str], int] = {}
    for statement in _statements(function.body):
        for place in _places(statement):
            for kind, changed in _changes(place, statement, cotangents):
                before = _headline(statement)
                replaced = _replaced(tree, place, changed)
                copied = next(each for each in functions(replaced) if starts(each) == first_line)
                after = _headline(_same_place(function, copied, statement))
                if after == before:
                    continue
                times = seen[before, after] = seen.get((before, after), 0) + 1
                shown = after if times == 1 else f"{after}  # {times}"
                last = statement.body[0].lineno - 1 if hasattr(statement, "body") else statement.end_lineno
                lines = range(statement.lineno, max(statement.lineno, last or 0) + 1)
                yield Mutant(module, name, kind, before, shown, lines, replaced, first_line)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if not isinstance(statement, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.ClassDef):
            yield statement
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, part, []))
        for handler in getattr(statement, "handlers", []):
            yield from _statements(handler.body)


def _places(statement: ast.stmt) -> Iterator[ast.expr]:
    """A statement's own expressions: not those of statements in it, of annotations, of docstrings."""
    rest: list[ast.AST] = []
    for name, value in ast.iter_fields(statement):
        if name in ("decorator_list", "args", "returns", "annotation", "type_comment"):
            continue
        rest.extend(each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.expr))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return
    while rest:
        node = rest.pop(0)
        if isinstance(node, ast.expr):
            yield node
        if not isinstance(node, ast.JoinedStr):
            # `strict` guards the lengths that a zip is given; a mistake there changes no value.
            wanted_children = (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.arguments))
            rest.extend(
                each for each in wanted_children if not (isinstance(each, ast.keyword) and each.arg == "strict")
            )


def _changes(node: ast.expr, statement: ast.stmt, cotangents: bool) -> Iterator[Change]:
    if isinstance(statement, ast.If) and node is statement.test and not _flips(node):
        yield "condition", ast.UnaryOp(ast.Not(), node)
    if isinstance(statement, ast.Return) and cotangents:
        yield from _returned(node, statement.value)
    match node:
        case ast.BinOp(left, operator, right):
            if type(operator) in ARITHMETIC:
                yield (
                    "sign" if isinstance(operator, ast.Add | ast.Sub) else "factor",
                    ast.BinOp(left, ARITHMETIC[type(operator)](), right),
                )
                yield "dropped term", left
                if isinstance(operator, ast.Add | ast.Mult):
                    yield "dropped term", right
            if isinstance(operator, ast.MatMult):
                yield "transpose", ast.BinOp(right, operator, left)
        case ast.UnaryOp(ast.USub(), ast.Constant()):
            pass  # a negative number: the number is changed
        case ast.UnaryOp(ast.USub(), operand):
            yield "sign", operand
        case ast.UnaryOp(ast.Not(), operand):
            yield "condition", operand
        case ast.Compare(left, [operator], [right]) if type(operator) in COMPARISONS:
            yield "comparison", ast.Compare(left, [COMPARISONS[type(operator)]()], [right])
        case ast.BoolOp(operator, values):
            yield "logic", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.IfExp(test, body, orelse) if not _flips(test):
            yield "condition", ast.IfExp(test, orelse, body)
        case ast.Constant(bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.Call():
            yield from _calls(node)


def _returned(node: ast.expr, returned: ast.expr | None) -> Iterator[Change]:
    """Mistakes in a value that a gradient rule returns: its sign, its absence, its place."""
    elements = returned.elts if isinstance(returned, ast.Tuple) else [returned]
    if node in elements and not (isinstance(node, ast.Constant) and node.value is None):
        if not isinstance(node, ast.UnaryOp | ast.List | ast.ListComp | ast.IfExp):
            yield "sign", ast.UnaryOp(ast.USub(), node)
        yield "dropped cotangent", ast.Constant(None)
    if isinstance(returned, ast.Tuple) and node is returned and len(returned.elts) == 2:
        yield "swapped cotangents", ast.Tuple(returned.elts[::-1], ast.Load())


def _flips(test: ast.expr) -> bool:
    """Whether a condition is negated by another mistake already."""
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    return negated or (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn)
    )


def _calls(call: ast.Call) -> Iterator[Change]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in MOVES and call.args and not isinstance(call.args[0], ast.Starred):
        yield MOVES[name], call.args[0]
    if name in ("Gemm", "MatMul", "Div", "Sub") and len(call.args) >= 2:
        yield "transpose", ast.Call(call.func, [call.args[1], call.args[0], *call.args[2:]], call.keywords)
    if name in OPERATORS and isinstance(call.func, ast.Attribute):
        yield (
            "operator",
            ast.Call(ast.Attribute(call.func.value, OPERATORS[name], ast.Load()), call.args, call.keywords),
        )
    for i, keyword in enumerate(call.keywords):
        if keyword.arg in PLACES and not isinstance(keyword.value, ast.Constant):
            if keyword.arg == "axis":
                moved = ast.BinOp(keyword.value, ast.Add(), ast.Constant(1))
                yield "axis", ast.Call(call.func, call.args, _with(call.keywords, i, moved))
                moved = ast.BinOp(keyword.value, ast.Sub(), ast.Constant(1))
                yield "axis", ast.Call(call.func, call.args, _with(call.keywords, i, moved))
            else:
                yield "axis", ast.Call(call.func, call.args, call.keywords[:i] + call.keywords[i + 1 :])


def _with(keywords: list[ast.keyword], i: int, value: ast.expr) -> list[ast.keyword]:
    return [ast.keyword(each.arg, value) if k == i else each for k, each in enumerate(keywords)]


def _headline(statement: ast.stmt) -> str:
    """A statement on one line, a compound one without what stands in it."""
    text = ast.unparse(statement) if not hasattr(statement, "body") else _header(statement)
    return " ".join(text.split())


def _header(statement: ast.stmt) -> str:
    alone = copy.copy(statement)
    for part in ("body", "orelse", "finalbody", "handlers"):
        if getattr(alone, part, None):
            setattr(alone, part, [ast.Pass()] if part == "body" else [])
    if isinstance(alone, ast.Try):
        return "try:"
    return ast.unparse(alone).removesuffix("pass").rstrip()


def _replaced(tree: ast.Module, place: ast.expr, changed: ast.expr) -> ast.Module:
    """A copy of a tree in which one expression is another. Only what lies on the way to it is copied."""

    def visit(node: ast.AST) -> ast.AST:
        if node is place:
            return ast.copy_location(changed, place)
        if not _within(node, place):
            return node
        made = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.AST):
                setattr(made, name, visit(value))
            elif isinstance(value, list):
                setattr(made, name, [visit(each) if isinstance(each, ast.AST) else each for each in value])
        return made

    result = visit(tree)
    assert isinstance(result, ast.Module)
    return result


def _within(node: ast.AST, place: ast.AST) -> bool:
    """Whether the lines of a node are around those of a place; nodes without lines may be."""
    first, last = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
    decorators = getattr(node, "decorator_list", [])
    if first is None or last is None:
        return True
    return min([first, *(each.lineno for each in decorators)]) <= place.lineno <= last  # type: ignore[attr-defined]


def _same_place(original: ast.AST, copied: ast.AST, wanted: ast.stmt) -> ast.stmt:
    """The statement of a copied tree that stands where `wanted` stands in the original."""
    pairs = [(original, copied)]
    while pairs:
        old, new = pairs.pop()
        if old is wanted:
            assert isinstance(new, ast.stmt)
            return new
        for name, value in ast.iter_fields(old):
            other = getattr(new, name)
            if isinstance(value, list):
                pairs.extend(
                    (a, b) for a, b in zip(value, other, strict=True) if isinstance(a, ast.stmt | ast.excepthandler)
                )
    raise KeyError(ast.unparse(wanted))
