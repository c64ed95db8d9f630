"""Bodies: statements in their order, declared types, weights and states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlc.compiler.elaborate import assertions, expressions
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import POISON, Binding, Distribution, Instance, Template, describe
from dlc.compiler.elaborate.names import find, give
from dlc.compiler.elaborate.problems import Problem, Reported
from dlc.compiler.graph import Value
from dlc.compiler.types import ONNX_NUMBER, Dim, Polynomial, Type, symbol
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.habits import CHOICES, NO_BRANCH

FOREIGN_TYPES = {
    "float": "f32", "float16": "f16", "half": "f16", "float32": "f32", "float64": "f64", "double": "f64",
    "bfloat16": "bf16", "int": "i64", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "long": "i64",
    "uint8": "u8", "byte": "u8", "boolean": "bool",
}  # fmt: skip
WHERE = {
    ast.Freeze: "a `train` section",
    ast.Load: "a `train` section",
    ast.Section: "a `train` or `data` section",
    ast.Yield: "a `scan`",
    ast.Field: "a `data` section",
}


def run(
    e: Elaborator, body: tuple[ast.Statement, ...], frame: Frame, inputs: Mapping[str, Any] | None, span: ast.Span
) -> Any:
    """Run a body's statements and give what it returns: one value, or a tuple of several.

    `inputs` are the values of its `input` statements; None for a `fn`, which has none. `span` is of the declaration.
    """
    result: Any = None
    returned = False
    for statement in body:
        if returned:
            e.report.add(Problem("E0206", "a statement after `return`", "this is never reached"), statement.span)
            break
        try:
            match statement:
                case ast.Return():
                    values = tuple(expressions.evaluate(e, value, frame) for value in statement.values)
                    with e.builder.at(statement.span):
                        values = tuple(assertions.restored(value, frame) for value in values)
                        assertions.leave(frame)
                    result, returned = (values[0] if len(values) == 1 else values), True
                case ast.Input():
                    _input(e, statement, frame, inputs)
                case _:
                    statement_of(e, statement, frame)
        except Problem as problem:
            e.report.add(problem, statement.span)
            if isinstance(statement, ast.Assert | ast.Input):
                return POISON  # what follows relies on it
            if isinstance(statement, ast.Param | ast.State):  # its name is known all the same
                frame.scope.names.setdefault(statement.name.text, Binding(POISON, statement.name.span))
    if not returned:
        e.report.add(Problem("E0206", "this body returns nothing", "`return` is missing"), span)
        return POISON
    if isinstance(result, tuple) and any(value is POISON for value in result):
        return POISON
    return result


def statement_of(e: Elaborator, statement: ast.Statement, frame: Frame) -> None:
    """A statement that may stand in any body; raises Problem for one that may not."""
    if frame.pure and isinstance(statement, ast.Param | ast.State | ast.Next):
        raise Problem("E0204", "a `fn` owns nothing: no weights and no state", help="make it a `block`")
    match statement:
        case ast.Assign():
            before = len(e.builder.made)
            assign(e, statement, frame)
            frame.started |= any(node.inputs for node in e.builder.made[before:])
        case ast.Param():
            give(e, frame, statement.name, _param(e, statement, frame), made_by=statement.span)
        case ast.State():
            give(e, frame, statement.name, _state(e, statement, frame), made_by=statement.span)
        case ast.Next():
            _next(e, statement, frame)
        case ast.Assert():
            assertions.check(e, statement, frame)
        case ast.Ragged():
            _ragged(e, statement, frame)
        case ast.Section(name=ast.Name(text="if")):
            for each in (inner for inner in statement.body if isinstance(inner, ast.Assign)):
                for name in each.names:  # known all the same
                    frame.scope.names.setdefault(name.text, Binding(POISON, name.span, used=True))
            raise Problem("E0118", NO_BRANCH, "nothing branches here", span=statement.name.span, help=CHOICES)
        case _:
            where = WHERE.get(type(statement), "another place")
            raise Problem("E0206", f"this statement belongs into {where}")


def assign(e: Elaborator, statement: ast.Assign, frame: Frame) -> None:
    """`a = e`, `a, b = e`."""
    alone = len(statement.names) == 1
    place = frame.owner.place.part(statement.names[0].text) if alone else None
    value = expressions.evaluate(e, statement.value, frame, place=place)
    if alone and isinstance(value, Template) and not statement.names[0].text[0].isupper():
        e.report.add(template_for(statement.names[0].text, value, statement.value.span), statement.span)
        value = POISON
    if alone:
        values = [value]
    elif value is POISON:
        values = [POISON] * len(statement.names)
    elif isinstance(value, tuple | list) and len(value) == len(statement.names):
        values = list(value)
    else:
        found = f"{len(value)} values" if isinstance(value, tuple | list) else describe(value)
        problem = Problem("E0302", f"{len(statement.names)} names for {found}", span=statement.value.span)
        e.report.add(problem, statement.span)
        values = [POISON] * len(statement.names)
    for name, each in zip(statement.names, values, strict=True):
        instance = each if isinstance(each, Instance) else None
        give(e, frame, name, each, made_by=statement.value.span, instance=instance)
        if not frame.library:
            e.label(each, f"{frame.owner.place}.{name.text}")


def template_for(name: str, template: Template, span: ast.Span) -> Problem:
    """A small name stands for an instance, and is given the block itself."""
    text = f"`{name}` would be the block `{template.name}` itself, which has no weights"
    settings = "..." if any(each.default is None for each in template.block.params) else ""
    return Problem("E0302", text, "a block, not an instance of it", span=span, help=f"`{template.name}({settings})`")


def _input(e: Elaborator, statement: ast.Input, frame: Frame, inputs: Mapping[str, Any] | None) -> None:
    if inputs is None:
        raise Problem("E0206", "a `fn` has parameters, no `input`", help="write them in its parentheses")
    for item in statement.items:
        if item.name.text in inputs:
            value = inputs[item.name.text]
        elif item.default is not None:
            value = expressions.evaluate(e, item.default, frame)
        else:
            raise Problem("E0205", f"the input `{item.name.text}` is missing", span=item.name.span)
        for fact in frame.facts:
            value = assertions.supposed(e, value, fact, f"{frame.owner.place}.{item.name.text}")
        if item.type is not None and value is not POISON:
            unify(e, item.type, value, frame, item.name.text, item.span)
        frame.scope.names[item.name.text] = Binding(value, item.name.span, made_by=item.span, used=True)


def _param(e: Elaborator, statement: ast.Param, frame: Frame) -> Any:
    role = "parameter"
    if statement.type is None:
        if statement.init is None:
            raise Problem("E0205", f"`{statement.name.text}` needs a type, or a value to begin with")
        return _carried(e, statement.name, None, statement.init, frame, role, statement.span)
    type = resolve(e, statement.type, frame)
    if not type.is_float:
        help = f"`state {statement.name.text}: {type} = ...` keeps what is not trained"
        raise Problem("E0302", f"`{statement.name.text}` is trained, and floats alone can be", f"{type}", help=help)
    if statement.init is None:
        raise Problem(
            "E0205",
            f"`{statement.name.text}` needs a value to begin with",
            help=f"`param {statement.name.text}: {type} = glorot`, or `zeros`",
        )
    return _carried(e, statement.name, type, statement.init, frame, role, statement.span)


def _state(e: Elaborator, statement: ast.State, frame: Frame) -> Any:
    type = resolve(e, statement.type, frame) if statement.type is not None else None
    return _carried(e, statement.name, type, statement.init, frame, "state", statement.span)


def _carried(
    e: Elaborator, name: ast.Name, type: Type | None, init: ast.Expr, frame: Frame, role: str, span: ast.Span
) -> Any:
    """A weight or state of the frame's instance. Without a declared type it has that of its first value."""
    where = address_of(frame.owner, name.text)
    if e.optimizer is not None:
        role = "optimizer"
        where = e.optimizer.address_of(frame.owner, name.text)
    if type is None:
        value = expressions.evaluate(e, init, frame)
        if value is POISON:
            return POISON
        if isinstance(value, Distribution | str | Template | Instance | None):
            raise Problem("E0205", f"`{name.text}` needs a type", f"it begins as {describe(value)}")
        type = value.type if isinstance(value, Value) else Type(e.mode.working, ())
    if name.text not in frame.owner.parameters and where in e.parameters and e.optimizer is None:
        first = e.parameters[where].span
        again = "each turn makes a part of its own: leave out the `as`" if first == e.report.shown(span) else None
        raise Problem(
            "E0202",
            f"two parts have the address `{where}`",
            "this is the second",
            secondary=(Label(first, "the first"),),
            help=again or "give one of them another name with `as`",
        )
    frame.owner.parameters[name.text] = where
    return e.parameter(where, type, role, lambda: expressions.evaluate(e, init, frame), e.report.shown(span))


def address_of(owner: Instance, name: str) -> str:
    """A parameter's address. A part that owns one parameter of its own name adds no level."""
    if owner.place.path and owner.place.path[-1] == name and len(owner.place.path) > 1:
        return str(owner.place)
    return str(owner.place.part(name))


def _next(e: Elaborator, statement: ast.Next, frame: Frame) -> None:
    if not e.mode.training or e.mode.initial:
        return
    for bind in statement.binds:
        address = frame.owner.parameters.get(bind.name.text)
        if address is None:
            continue  # the state's own mistake has been told, or that there is none
        value = expressions.evaluate(e, bind.value, frame)
        if value is POISON:
            continue
        kind = e.parameters[address].type
        if not isinstance(value, Value):
            value = e.builder.constant(value, kind.dtype)
        if value.type != kind:
            raise Problem("E0301", f"`{bind.name.text}` is {kind}, and would become {value.type}", span=bind.value.span)
        e.moved[address] = value


def _ragged(e: Elaborator, statement: ast.Ragged, frame: Frame) -> None:
    if statement.dim.text not in frame.dims:
        guess = nearest(statement.dim.text, frame.dims)
        label = f"did you mean `{guess}`?" if guess else "no input here has it"
        raise Problem("E0305", f"there is no dimension `{statement.dim.text}`", label, span=statement.dim.span)
    dim, _ = frame.dims[statement.dim.text]
    binding = find(e, frame, statement.length.text, statement.length.span)
    binding.used = True
    if binding.value is POISON:
        return
    found = binding.value
    if not isinstance(found, Value) or found.dtype not in ("i64", "i32") or found.type.rank != 1:
        what = f"this is {describe(binding.value)}"
        raise Problem("E0302", "lengths are one integer for each example: `i64[B]`", what, span=statement.length.span)
    if isinstance(dim, Polynomial):
        earlier = frame.padded.setdefault(dim, statement)
        if earlier is not statement and e.ragged[dim][0] is not found:
            text = f"`{earlier.dim.text}` and `{statement.dim.text}` are one dimension here, with two lengths"
            help = "in the data, call the two by different names"
            first = (Label(earlier.span, "the first is said here"),)
            raise Problem("E0305", text, f"both are {dim}", span=statement.span, secondary=first, help=help)
        e.ragged[dim] = (found, statement.span)
    else:  # padded all the same, but other axes may be of that size too
        e.lengths[dim, statement.dim.text] = found


# ------------------------------------------------------------------------------------------------- types


def resolve(e: Elaborator, declared: ast.TypeExpr, frame: Frame) -> Type:
    """A declared type whose every dimension is known; raises Problem."""
    if declared.name is None or declared.dims is None:
        raise Problem("E0302", "a full type is wanted: `f32[3, 4]`", span=declared.span)
    dims: list[Dim] = []
    for each in declared.dims:
        if isinstance(each, ast.Dots):
            raise Problem("E0305", "`...` stands for dimensions that are given, and nothing gives them", span=each.span)
        dims.append(dimension(e, each, frame))
    return Type(element(e, declared.name), tuple(dims))


def element(e: Elaborator, name: ast.Name) -> str:
    """An element type's name; `f32` is the working float. Raises Problem."""
    if name.text not in ONNX_NUMBER:
        guess = FOREIGN_TYPES.get(name.text) or nearest(name.text, ONNX_NUMBER)
        label = f"did you mean `{guess}`?" if guess else ""
        raise Problem("E0302", f"there is no element type `{name.text}`", label, span=name.span)
    return e.mode.working if name.text == "f32" else name.text


def dimension(e: Elaborator, expr: ast.Expr, frame: Frame) -> Dim:
    """A dimension in a type: an expression of known dimensions and compile-time integers; raises Problem."""
    value = expressions.evaluate(e, expr, frame)
    if value is POISON:
        raise Reported()
    if isinstance(value, bool) or not isinstance(value, int | Polynomial):
        raise Problem("E0302", "a dimension is an integer", f"this is {describe(value)}", span=expr.span)
    if isinstance(value, int) and not 0 <= value < 2**48:
        raise Problem("E0310", f"a dimension of {value}", span=expr.span)
    return value


def unify(e: Elaborator, declared: ast.TypeExpr, value: Any, frame: Frame, what: str, span: ast.Span) -> None:
    """Match a value's type with a declared one: a bare capital name binds, anything else checks; raises Problem."""
    if declared.dims is None:
        return
    if not isinstance(value, Value):
        if isinstance(value, int | float | Polynomial) and not declared.dims:
            return
        raise Problem("E0302", f"`{what}` wants a tensor", f"this is {describe(value)}", span=span)
    if declared.name is not None and value.dtype != element(e, declared.name):
        raise _misfit(declared, value, what, span, f"elements are {value.dtype}, and {declared.name.text} is wanted")
    dims = list(declared.dims)
    dots = next((i for i, each in enumerate(dims) if isinstance(each, ast.Dots)), None)
    if sum(isinstance(each, ast.Dots) for each in dims) > 1:
        raise Problem("E0302", "a type has one `...` at most", span=declared.span)
    least = len(dims) - (dots is not None)
    if value.type.rank < least or (dots is None and value.type.rank != least):
        raise _misfit(declared, value, what, span, f"the rank is {value.type.rank}, and {least} is wanted")
    axes = list(range(value.type.rank))
    if dots is not None:
        axes = axes[:dots] + axes[value.type.rank - (least - dots) :]
        del dims[dots]
    named = {axis: each for axis, each in zip(axes, dims, strict=True) if _names_a_dimension(each, frame)}
    for axis, each in named.items():
        assert isinstance(each, ast.Ref)
        frame.dims.setdefault(each.name, (value.shape[axis], each.span))
    for axis, each in zip(axes, dims, strict=True):
        assert not isinstance(each, ast.Dots)
        actual, where = value.shape[axis], None
        if axis in named:
            assert isinstance(each, ast.Ref)
            wanted, where = frame.dims[each.name]
        else:
            wanted = dimension(e, each, frame)
        if wanted != actual:
            problem = _misfit(declared, value, what, span, f"axis {axis} is {actual}, and {wanted} is wanted")
            if where is not None and isinstance(each, ast.Ref):
                problem.secondary = (*problem.secondary, Label(where, f"{each.name} is {wanted} since here"))
            raise problem


def _names_a_dimension(each: ast.Expr | ast.Dots, frame: Frame) -> bool:
    return isinstance(each, ast.Ref) and each.name[0].isupper() and frame.scope.find(each.name) is None


def _misfit(declared: ast.TypeExpr, value: Value, what: str, span: ast.Span, why: str) -> Problem:
    from dlc.dsl.printer import source as type_text

    secondary = (Label(declared.span, "wanted here"),) if declared.span != span else ()
    return Problem(
        "E0301",
        f"`{what}` is {type_text(declared)}, and this is {value.type}",
        why,
        span=span,
        secondary=secondary,
    )


def declared_type(e: Elaborator, declared: ast.TypeExpr, frame: Frame) -> Type:
    """The type of a net's own input: each new capital name is a symbolic dimension; raises Problem."""
    if declared.name is None or declared.dims is None:
        raise Problem("E0302", "an input of a net has a full type: `f32[B, 3]`", span=declared.span)
    for each in declared.dims:
        if isinstance(each, ast.Ref) and each.name[0].isupper():
            frame.dims.setdefault(each.name, (symbol(each.name), each.span))
    dims: list[Dim] = []
    for each in declared.dims:
        if isinstance(each, ast.Dots):
            raise Problem("E0305", "an input of a net says every dimension", span=each.span)
        dims.append(dimension(e, each, frame))
    return Type(element(e, declared.name), tuple(dims))
