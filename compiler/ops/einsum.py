"""Einsum: sums of products over named indices.

An equation gives each operand a term of letters, one an axis. An ellipsis stands for axes without letters, which are
aligned from the right and broadcast; a letter that stands twice in a term walks the diagonal; without `->` the result
has the ellipsis and then every letter that stands once, in alphabetical order.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlc.compiler.build import op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.ops.indexing import counted
from dlc.compiler.ops.rules import NUMBERS, expect, mask
from dlc.compiler.registry import Call, IllTyped, define, gradient, lower
from dlc.compiler.types import INTEGERS, Dim, Shape, Type

_TERM = re.compile(r"[A-Za-z]*(\.\.\.[A-Za-z]*)?")


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation without ellipses: the letters of each operand and of the result, and what size a letter has.

    `stretched` has for each operand the axes of size 1 that broadcast against a larger one.
    """

    terms: tuple[str, ...]
    result: str
    sizes: dict[str, Dim]
    stretched: tuple[tuple[int, ...], ...]


def parsed(equation: str, shapes: Sequence[Shape]) -> Equation:
    """Read an equation against the shapes of its operands; raises IllTyped."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise IllTyped(f'Einsum "{equation}" has {len(terms)} operands, {len(shapes)} are given')
    for term in (*terms, result):
        if not _TERM.fullmatch(term):
            raise IllTyped(f'Einsum "{equation}": "{term}" has more than letters and one ellipsis in it')
    letters = "".join(terms).replace(".", "")
    if not arrow:
        result = ("..." if "..." in left else "") + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    if unknown := sorted(set(result.replace(".", "")) - set(letters)):
        raise IllTyped(f'Einsum "{equation}": index {unknown[0]} of the result is in no operand')
    if len(set(result.replace(".", ""))) != len(result.replace(".", "")):
        raise IllTyped(f'Einsum "{equation}": an index stands twice in the result "{result}"')
    hidden = [_hidden(equation, term, shape) for term, shape in zip(terms, shapes, strict=True)]
    names = _free_letters(equation, letters, max(hidden, default=0))
    opened = tuple(term.replace("...", names[len(names) - n :]) for term, n in zip(terms, hidden, strict=True))
    result = result.replace("...", names)
    sizes = _sizes(equation, opened, shapes, names)
    stretched = tuple(
        tuple(i for i, x in enumerate(term) if x in names and shape[i] == 1 and sizes[x] != 1)
        for term, shape in zip(opened, shapes, strict=True)
    )
    return Equation(opened, result, sizes, stretched)


def _hidden(equation: str, term: str, shape: Shape) -> int:
    """How many axes the ellipsis of a term stands for."""
    named = len(term.replace(".", ""))
    if named > len(shape) or (named < len(shape) and "..." not in term):
        raise IllTyped(f'Einsum "{equation}": "{term}" against a tensor of rank {len(shape)}')
    return len(shape) - named


def _free_letters(equation: str, taken: str, count: int) -> str:
    free = [letter for letter in string.ascii_letters if letter not in taken]
    if count > len(free):
        raise IllTyped(f'Einsum "{equation}" has more than {len(string.ascii_letters)} indices')
    return "".join(free[:count])


def _sizes(equation: str, terms: Iterable[str], shapes: Iterable[Shape], broadcast: str) -> dict[str, Dim]:
    sizes: dict[str, Dim] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, dim in zip(term, shape, strict=True):
            have = sizes.setdefault(letter, dim)
            if letter in broadcast and 1 in (have, dim):
                sizes[letter] = dim if have == 1 else have
            elif have != dim:
                shown = "an axis of the ellipsis" if letter in broadcast else f"index {letter}"
                raise IllTyped(f'Einsum "{equation}": {shown} is {have} and {dim}')
    return sizes


def _einsum(call: Call) -> list[Type]:
    dtype, equation = expect(call, 0, NUMBERS).dtype, call.get("equation", "")
    operands = [call.type(index) for index in range(len(call.inputs))]
    for operand in operands:
        if operand.dtype != dtype:
            raise IllTyped(f'Einsum "{equation}" of {operands[0]} and {operand}: the element types differ')
    found = parsed(equation, [operand.shape for operand in operands])
    return [Type(dtype, tuple(found.sizes[letter] for letter in found.result))]


define("Einsum", _einsum)


@gradient("Einsum")
def _(g: Value, *xs: Value, equation: str) -> list[Value]:
    """The cotangent takes the place of the operand in the product."""
    found = parsed(equation, [x.shape for x in xs])
    kept, operands = _unstretched(found, xs)
    cotangents: list[Value] = []
    for place, x in enumerate(xs):
        others = kept[:place] + kept[place + 1 :]
        rest = operands[:place] + operands[place + 1 :]
        cotangents.append(_cotangent(g, x, kept[place], rest, others, found))
    return cotangents


def _unstretched(found: Equation, xs: Sequence[Value]) -> tuple[list[str], list[Value]]:
    """The terms and operands without the axes of size 1 that broadcast."""
    terms, operands = [], []
    for x, term, axes in zip(xs, found.terms, found.stretched, strict=True):
        terms.append(_dropped(term, axes))
        operands.append(private.ReshapeTo(x, shape=_without(x.shape, axes)) if axes else x)
    return terms, operands


@lower("Einsum")
def _(lowering: Any, node: Node, *xs: Value) -> Any:
    """Ellipses that stand for different axes, which onnx's shape inference refuses, become letters.

    Integers that have no kernel are multiplied as i64: what overflows is cut off at the end all the same. Sums of no
    products are zeros: ONNX Runtime divides by the count of elements there, and its process ends.
    """
    if any(0 in x.shape for x in xs):
        return private.ExpandTo(np.zeros((), node.output.type.numpy), shape=node.output.shape)
    if xs[0].dtype in INTEGERS - {"i32", "i64"}:
        wide = op.Einsum(*(op.Cast(x, to="i64") for x in xs), equation=node.attributes["equation"])
        return op.Cast(wide, to=node.output.dtype)
    found = parsed(node.attributes["equation"], [x.shape for x in xs])
    hidden = [x.type.rank - len(re.sub(r"[^A-Za-z]", "", term)) for x, term in zip(xs, _written(node), strict=True)]
    if not any(found.stretched) and len({n for n, term in zip(hidden, _written(node), strict=True) if "." in term}) < 2:
        return None
    terms, operands = _unstretched(found, xs)
    return op.Einsum(*operands, equation=f"{','.join(terms)}->{found.result}")


def _written(node: Node) -> list[str]:
    terms: list[str] = node.attributes["equation"].partition("->")[0].split(",")
    return terms


def _dropped(term: str, axes: Sequence[int]) -> str:
    return "".join(letter for i, letter in enumerate(term) if i not in axes)


def _without(shape: Shape, axes: Sequence[int]) -> Shape:
    return tuple(dim for i, dim in enumerate(shape) if i not in axes)


def _cotangent(g: Value, x: Value, term: str, rest: Sequence[Value], others: Sequence[str], found: Equation) -> Value:
    """An index that only this operand has is stretched back, a diagonal set among zeros."""
    around = found.result + "".join(others)
    once = "".join(dict.fromkeys(term))
    reached = "".join(letter for letter in once if letter in around)
    cotangent: Value = op.Einsum(g, *rest, equation=f"{','.join([found.result, *others])}->{reached}")
    whole = tuple(found.sizes[letter] for letter in once)
    if reached != once:
        thin = tuple(found.sizes[letter] if letter in reached else 1 for letter in once)
        cotangent = private.ExpandTo(private.ReshapeTo(cotangent, shape=thin), shape=whole)
    if once != term:
        cotangent = _on_diagonals(cotangent, term, once, found.sizes)
    return cotangent if cotangent.shape == x.shape else private.ReshapeTo(cotangent, shape=x.shape)


def _on_diagonals(x: Value, term: str, once: str, sizes: dict[str, Dim]) -> Value:
    """`x` with the axes `once` set on the diagonals of `term`: a product with identity matrices."""
    free = iter(letter for letter in string.ascii_letters if letter not in term)
    seen: set[str] = set()
    terms, operands, result = [once], [x], ""
    for letter in term:
        if letter in seen:
            copy = next(free)
            places = counted(sizes[letter])
            size = sizes[letter]
            column, row = (private.ReshapeTo(places, shape=shape) for shape in ((size, 1), (1, size)))
            operands.append(mask(op.Equal(column, row), x))
            terms.append(letter + copy)
            result += copy
        else:
            seen.add(letter)
            result += letter
    value: Value = op.Einsum(*operands, equation=f"{','.join(terms)}->{result}")
    return value
