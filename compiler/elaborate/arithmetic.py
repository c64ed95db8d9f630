"""Operators of the language on compile-time values and tensors, with the two rules of broadcasting.

Between compile-time numbers arithmetic is Python's, in integers and float64. Where a number meets a tensor it is
rounded once to the tensor's element type.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from dlc.compiler.build import current, op, private
from dlc.compiler.elaborate.conversion import CONVERT
from dlc.compiler.elaborate.entities import describe
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.graph import Value
from dlc.compiler.types import FLOATS, INTEGERS, Dim, Polynomial, Shape, Type

NUMBER = int | float | Polynomial
MAX_TERMS, MAX_LETTERS = 64, 2_000  # of a symbolic dimension
LARGEST = 3.4028235e38  # of f32
MAX_ITEMS = 200_000  # of a list or text that is joined of two

VERB = {
    "+": "added", "-": "subtracted", "*": "multiplied", "/": "divided", "//": "divided", "%": "divided",
    "**": "raised to one another", "@": "multiplied as matrices", "and": "combined", "or": "combined",
}  # fmt: skip
COMPARE: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "<": ("Less", operator.lt),
    ">": ("Greater", operator.gt),
    "<=": ("LessOrEqual", operator.le),
    ">=": ("GreaterOrEqual", operator.ge),
    "==": ("Equal", operator.eq),
    "!=": ("NotEqual", operator.ne),
}
PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow,
}  # fmt: skip


def working() -> str:
    """The element type of numbers that are computed at run time beside no tensor of floats."""
    return current().working


def shown(shape: Sequence[Dim]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def stretch(left: Type, right: Type, what: str) -> Shape:
    """The shape of an elementwise operation by the language's two rules; raises Problem.

    Same rank: a dimension written 1 stretches. Different rank: the smaller is aligned to the right and may stretch, and
    the bigger never grows.
    """
    a, b = left.shape, right.shape
    if len(a) == len(b):
        if all(m == n or m == 1 or n == 1 for m, n in zip(a, b, strict=True)):
            return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))
    else:
        big, small = (a, b) if len(a) > len(b) else (b, a)
        tail = big[len(big) - len(small) :]
        if all(n in (m, 1) for m, n in zip(tail, small, strict=True)):
            return big
        if all(m == n or m == 1 or n == 1 for m, n in zip(tail, small, strict=True)):
            grown = big[: len(big) - len(small)] + tuple(n if m == 1 else m for m, n in zip(tail, small, strict=True))
            square = "turn a column into a square" if len(big) == 2 else "grow the bigger shape"
            raise Problem(
                "E0304",
                f"these two would {square}",
                f"{left} and {right} would give {left.with_shape(grown)}",
                notes=("when ranks differ, the bigger shape never grows",),
                help=_squeeze_help(big, small),
            )
    raise Problem(
        "E0301",
        f"these two cannot be {what}",
        f"{left} and {right}",
        notes=(_differences(a, b),),
        help=_bring_along(a, b),
    )


PICTURES = ("batch", "channels", "height", "width")


def _differences(a: Shape, b: Shape) -> str:
    """Which dimensions of two shapes, aligned to the right, do not go together: those that differ alike at once."""
    names = PICTURES if len(a) == len(b) == len(PICTURES) else ()
    found: dict[tuple[Dim, Dim], list[str]] = {}
    for back, (m, n) in enumerate(zip(a[::-1], b[::-1], strict=False), 1):
        if m != n and m != 1 and n != 1:
            found.setdefault((m, n), []).insert(0, names[-back] if names else f"axis -{back}")
    parts = []
    for (m, n), axes in reversed(found.items()):
        several = len(axes) > 1 or (axes[0] == "channels")
        parts.append(f"{' and '.join(axes)} {'are' if several else 'is'} {m} and {n}")
    return ", ".join(parts)


def _bring_along(a: Shape, b: Shape) -> str | None:
    """The usual help in a residual block: the stage that gives one picture the shape of the other."""
    if len(a) != len(PICTURES) or len(b) != len(PICTURES) or a[0] != b[0]:
        return None
    for big, small in ((a, b), (b, a)):
        sizes = [d for d in (*big[2:], *small[1:]) if isinstance(d, int) and d > 0]
        if len(sizes) == 5:
            height, width, channels, low, narrow = sizes
            stride = -(-height // low)
            if stride == -(-width // narrow) and -(-height // stride) == low and -(-width // stride) == narrow:
                step = f", stride={stride}" if stride > 1 else ""
                return f"bring {shown(big)} along: `-> Conv({channels}, 1{step})` makes it {shown(small)}"
    return None


def _squeeze_help(big: Shape, small: Shape) -> str:
    if big[-1] == 1 and len(small) == len(big) - 1:
        return "drop the last axis where it is made: `-> squeeze(-1)`"
    return "give both the same rank, with 1 where one stretches: `w[:, none]`"


def tensor(value: Any, like: str | Value, what: str = "this") -> Value:
    """A compile-time number, list of numbers or dimension as a tensor of element type `like`, or of that of the tensor
    `like`, which it stands beside; tensors stay."""
    if isinstance(value, Value):
        return value
    beside, kind = (like, like.dtype) if isinstance(like, Value) else (None, like)
    if isinstance(value, Polynomial):
        size: Value = private.Size(dim=value)
        return size if kind == "i64" else op.Cast(size, to=kind)
    if isinstance(value, bool):
        if kind != "bool":
            raise Problem("E0302", f"{what} is {describe(value)}, and {kind} is wanted")
    elif isinstance(value, int):
        if kind == "bool":
            raise Problem("E0302", f"{what} is {describe(value)}, and bool is wanted")
        if kind in INTEGERS and not -(2**63) <= value < 2**63:
            raise Problem("E0310", f"{value} does not fit {kind}")
    elif isinstance(value, float):
        if kind not in FLOATS:
            raise Problem(
                "E0302",
                f"integers and floats do not mix: {what} is {value}, beside {kind}",
                help=CONVERT,
                convert=beside,
            )
        if kind in ("f32", "bf16") and abs(value) > LARGEST:
            raise Problem("E0310", f"{value} does not fit {kind}")
    elif isinstance(value, list | tuple) and value:
        return current().constant(_nested(value), kind)
    else:
        raise Problem("E0302", f"{what} is {describe(value)}, and a tensor or number is wanted")
    return current().constant(value, kind)


def _nested(value: Any) -> Any:
    if isinstance(value, list | tuple):
        parts = [_nested(item) for item in value]
        if len({_extents(part) for part in parts}) > 1:
            raise Problem("E0302", "the parts of a list of numbers differ in length", f"this is {describe(value)}")
        return parts
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise Problem("E0302", f"{describe(value)} inside a list of numbers")


def _extents(value: Any) -> tuple[int, ...]:
    """The lengths of a list whose parts are alike, of its parts, and so on."""
    found = []
    while isinstance(value, list):
        found.append(len(value))
        value = value[0] if value else None
    return tuple(found)


def pair(left: Any, right: Any, what: str) -> tuple[Value, Value]:
    """Both as tensors of one element type, the literals adapted; raises Problem."""
    beside = left if isinstance(left, Value) else right
    a, b = tensor(left, beside), tensor(right, beside)
    if a.dtype != b.dtype:
        mixed = (a.dtype in FLOATS) != (b.dtype in FLOATS)
        raise Problem(
            "E0302",
            "integers and floats do not mix" if mixed else f"these two cannot be {what}",
            f"{a.type} and {b.type}",
            help=CONVERT if mixed else None,
            convert=(b if a.type.is_float else a) if mixed else None,
        )
    return a, b


def binary(symbol: str, left: Any, right: Any) -> Any:
    """`left symbol right`; raises Problem."""
    if symbol in ("and", "or"):
        return _logical(symbol, left, right)
    if symbol in COMPARE:
        return _compare(symbol, left, right)
    if not isinstance(left, Value) and not isinstance(right, Value):
        return _python(symbol, left, right)
    if symbol == "@":
        return matmul(left, right)
    if symbol == "**" and isinstance(left, Value) and isinstance(right, int | float) and not isinstance(right, bool):
        return op.Pow(left, current().constant(right, left.dtype if left.type.is_float else "i64"))
    if symbol == "/" and not any(isinstance(side, Value) and side.type.is_float for side in (left, right)):
        left, right = (op.Cast(side, to=working()) if isinstance(side, Value) else side for side in (left, right))
    a, b = pair(left, right, VERB[symbol])
    if symbol == "*" and (_is_zero(left) or _is_zero(right)):
        # Dropped here, where it is written (`weight_decay * w`): on the graph x * 0 is not 0 for an x that is NaN.
        zeros: Value = private.ExpandTo(current().constant(0, a.dtype), shape=stretch(a.type, b.type, "multiplied"))
        return zeros
    if a.dtype == "bool":
        raise Problem("E0302", f"truth values cannot be {VERB[symbol]}", f"{a.type} and {b.type}", help="use `where`")
    stretch(a.type, b.type, VERB[symbol])
    match symbol:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return a / b
        case "**":
            return a**b
        case "%":
            return a - op.Floor(a / b) * b if a.type.is_float else a % b
        case "//":
            return op.Floor(a / b) if a.type.is_float else (a - a % b) / b
    raise AssertionError(symbol)


def _is_zero(side: Any) -> bool:
    return isinstance(side, int | float) and not isinstance(side, bool) and side == 0


def unary(symbol: str, operand: Any) -> Any:
    """`-x`, `+x`, `not x`; raises Problem."""
    if symbol == "not":
        if isinstance(operand, Value):
            if operand.dtype != "bool":
                raise Problem("E0302", "`not` is for truth values", f"this is {operand.type}")
            return op.Not(operand)
        return not truth(operand)
    if isinstance(operand, Value):
        if operand.dtype == "bool":
            raise Problem("E0302", "a truth value has no sign", f"this is {operand.type}")
        return -operand if symbol == "-" else operand
    if isinstance(operand, bool) or not isinstance(operand, NUMBER):
        raise Problem("E0302", f"{describe(operand)} has no sign")
    return -operand if symbol == "-" else operand


def whole(value: Any, what: str) -> int:
    """A compile-time integer; raises Problem."""
    if isinstance(value, bool) or not isinstance(value, int):
        code = "E0306" if isinstance(value, Value | Polynomial) else "E0302"
        raise Problem(code, f"{what} wants an integer that is known while compiling", f"this is {describe(value)}")
    return value


def truth(value: Any) -> bool:
    """A compile-time truth value; raises Problem."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Value):
        raise Problem(
            "E0306",
            "a condition has to be known while compiling",
            f"this is a tensor, {value.type}",
            help="to choose between tensors element by element, use `where(condition, a, b)`",
        )
    raise Problem("E0302", "a condition is true or false", f"this is {describe(value)}")


def matmul(left: Any, right: Any) -> Value:
    """`a @ b` as numpy has it; leading dimensions follow the language's broadcasting."""
    for side in (left, right):
        if not isinstance(side, Value):
            raise Problem("E0302", f"`@` multiplies tensors, and one of these is {describe(side)}")
    a, b = pair(left, right, "multiplied as matrices")
    if not a.shape or not b.shape:
        raise Problem("E0301", "`@` needs at least one axis on each side", f"{a.type} and {b.type}")
    inner = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise Problem(
            "E0301",
            "these two cannot be multiplied as matrices",
            f"{a.type} and {b.type}",
            notes=(f"the left one has {a.shape[-1]} columns, the right one {inner} rows",),
        )
    if len(a.shape) > 2 and len(b.shape) > 2:
        stretch(Type(a.dtype, a.shape[:-2]), Type(b.dtype, b.shape[:-2]), "multiplied as matrices")
    return a @ b


def _logical(symbol: str, left: Any, right: Any) -> Any:
    if isinstance(left, Value) or isinstance(right, Value):
        a, b = pair(left, right, "combined")
        if a.dtype != "bool":
            raise Problem("E0302", f"`{symbol}` is for truth values", f"{a.type} and {b.type}")
        stretch(a.type, b.type, "combined")
        return op.And(a, b) if symbol == "and" else op.Or(a, b)
    return (truth(left) and truth(right)) if symbol == "and" else (truth(left) or truth(right))


def _compare(symbol: str, left: Any, right: Any) -> Any:
    name, python = COMPARE[symbol]
    if isinstance(left, Value) or isinstance(right, Value):
        if left is None or right is None:  # `memory == none`
            return symbol == "!="
        a, b = pair(left, right, "compared")
        stretch(a.type, b.type, "compared")
        if symbol == "!=":
            return op.Not(op.Equal(a, b))
        if a.dtype == "bool" and symbol not in ("==", "!="):
            raise Problem("E0302", "truth values have no order", f"{a.type} and {b.type}")
        return op[name](a, b)
    if symbol in ("==", "!="):
        return python(left, right)
    for side in (left, right):
        if not isinstance(side, int | float):
            raise Problem("E0302", f"{describe(side)} has no order that is known while compiling")
    return python(left, right)


def _python(symbol: str, left: Any, right: Any) -> Any:
    for kind in (list, str):
        if symbol == "+" and isinstance(left, kind) and isinstance(right, kind):
            if len(left) + len(right) > MAX_ITEMS:
                raise Problem("E0310", f"{describe(left)} and {describe(right)} would be too long together")
            return operator.add(left, right)
    for side in (left, right):
        if isinstance(side, bool) or not isinstance(side, NUMBER):
            raise Problem("E0302", f"these two cannot be {VERB[symbol]}", f"one is {describe(side)}")
    if symbol == "@":
        raise Problem("E0302", "`@` multiplies tensors, and these are numbers")
    if isinstance(left, Polynomial) or isinstance(right, Polynomial):
        return _symbolic(symbol, left, right)
    if symbol == "**" and (abs(right) > 1024 or abs(left) > 2**64):
        raise Problem("E0310", f"{left} ** {right} is too large")
    try:
        result = PYTHON[symbol](left, right)
    except ZeroDivisionError:
        raise Problem("E0303", "a division by zero") from None
    except OverflowError:
        raise Problem("E0310", "the result is too large") from None
    if isinstance(result, complex):
        raise Problem("E0303", "a fractional power of a negative number")
    if isinstance(result, float) and not math.isfinite(result):
        raise Problem("E0310", "the result is too large", f"{left} {symbol} {right}")
    if isinstance(result, int) and abs(result) > 2**63:
        raise Problem("E0310", "the result does not fit 64 bits")
    return result


def _bounded(dim: Dim) -> Dim:
    """A dimension that is not too long to be worked with; raises Problem."""
    if isinstance(dim, Polynomial) and (
        len(dim.terms) > MAX_TERMS
        or len(str(dim)) > MAX_LETTERS
        or any(abs(c) >= 2**63 or sum(power for _, power in atoms) > MAX_TERMS for atoms, c in dim.terms)
    ):
        raise Problem("E0310", "this dimension is too long to work with", f"more than {MAX_TERMS} terms or factors")
    return dim


def _symbolic(symbol: str, left: Any, right: Any) -> Any:
    whole = isinstance(left, int | Polynomial) and isinstance(right, int | Polynomial)
    if whole and symbol in ("+", "-", "*"):
        return _bounded(PYTHON[symbol](left, right))
    if whole and symbol in ("//", "%"):
        if right == 0:
            raise Problem("E0303", "a division by zero")
        share = _bounded(left // right)
        return share if symbol == "//" else _bounded(left - share * right)
    return binary(symbol, tensor(left, working()), tensor(right, working()))
