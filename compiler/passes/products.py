"""Rules for matrix products, and for the gradient of cross entropy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dlc.compiler.build import current, op, private
from dlc.compiler.graph import Node, Value
from dlc.compiler.passes.algebra import sign_between
from dlc.compiler.passes.match import Sole, argument, arguments, elements, is_scalar, number, rule
from dlc.compiler.passes.movement import permutation


def _gemm(a: Value, b: Value, c: Value | None = None, **attributes: float) -> Value:
    """A Gemm whose attributes are left out where they are ONNX's defaults."""
    defaults = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    kept = {name: value for name, value in attributes.items() if value != defaults[name]}
    if c is None:
        kept.pop("beta", None)
    return op.Gemm(a, b, c, **kept)


def as_gemm(value: Value) -> Node | None:
    """The node that makes a value if it is a product of two float matrices, MatMul or Gemm."""
    node = value.node
    if node is None or node.op not in ("MatMul", "Gemm") or not value.type.is_float:
        return None
    a, b = node.inputs[:2]
    return node if a is not None and b is not None and a.type.rank == b.type.rank == 2 else None


def gemm(value: Value, c: Value | None = None, **changes: float) -> Value:
    """The product that makes `value`, as a Gemm with another C and other attributes."""
    node = as_gemm(value)
    assert node is not None and node.inputs[0] is not None and node.inputs[1] is not None
    kept = {name: attribute for name, attribute in node.attributes.items() if name in ("alpha", "transA", "transB")}
    return _gemm(node.inputs[0], node.inputs[1], c, **(kept | changes))


def has_addend(node: Node) -> bool:
    """Whether a product adds a C."""
    return len(node.inputs) > 2 and node.inputs[2] is not None


@rule("MatMul", "Gemm")
def transposed_operand(node: Node, x: Value, y: Value, c: Value | None = None) -> Value | None:
    """A Gemm reads its matrices in either order: a Transpose before it is only a flag."""
    if as_gemm(node.output) is None:
        return None
    a, b = (argument(side, "Transpose") if permutation(side) == (1, 0) else None for side in (x, y))
    if a is None and b is None:
        return None
    given = dict(node.attributes)
    if a is not None:
        given["transA"] = 1 - given.get("transA", 0)
    if b is not None:
        given["transB"] = 1 - given.get("transB", 0)
    return _gemm(x if a is None else a, y if b is None else b, c, **given)


@rule("Gemm")
def defaults(node: Node, x: Value, y: Value, c: Value | None = None) -> Value:
    """Attributes that say what ONNX says without them are left out."""
    return _gemm(x, y, c, **node.attributes)


@rule("dlc.ReshapeTo")
def matrix_times_vector(node: Node, x: Value, *, sole: Sole) -> Value | None:
    """A product with one row or column, made of a vector and read as one, is MatMul with that vector."""
    found = as_gemm(x)
    if found is None or has_addend(found) or not sole(x) or found.attributes.get("alpha", 1.0) != 1.0:
        return None
    a, b = found.inputs[:2]
    assert a is not None and b is not None
    left, right = argument(a, "dlc.ReshapeTo"), argument(b, "dlc.ReshapeTo")
    if right is not None and right.type.rank == 1 and x.shape[1] == 1:
        return right @ a if found.attributes.get("transA", 0) else a @ right
    if left is not None and left.type.rank == 1 and x.shape[0] == 1:
        return b @ left if found.attributes.get("transB", 0) else left @ b
    return None


@rule("Add", "Sub")
def product_plus(node: Node, x: Value, y: Value, *, sole: Sole) -> Value | None:
    """x @ w + b -> Gemm(x, w, b), and with a minus on either side, if nothing else reads the product."""
    for product, other, sign in ((x, y, 1.0), (y, x, 1.0 if node.op == "Add" else -1.0)):
        found = as_gemm(product)
        if found is None or has_addend(found) or not sole(product) or product.shape != node.output.shape:
            continue
        alpha = sign * found.attributes.get("alpha", 1.0)
        beta = -1.0 if node.op == "Sub" and product is x else 1.0
        return gemm(product, other, alpha=alpha, beta=beta)
    return None


@rule("Sum")
def product_in_sum(node: Node, *terms: Value, sole: Sole) -> Value | None:
    """A sum of two terms is an Add; the products that nothing else reads are added last, for their Gemms to do so."""
    if len(terms) <= 2:
        return terms[0] + terms[1] if len(terms) == 2 else terms[0]
    products = [term for term in terms if term.shape == node.output.shape and _is_free(term, sole)]
    if not products:
        return None
    taken = set(products)
    rest = [term for term in terms if term not in taken]
    total = op.Sum(*rest) if len(rest) > 1 else rest[0] if rest else products.pop()
    for product in reversed(products):  # all at once: a sum of thousands would take as many turns over the graph
        total = gemm(product, total)
    return total


def _is_free(product: Value, sole: Sole) -> bool:
    found = as_gemm(product)
    return found is not None and not has_addend(found) and sole(product)


@rule("Mul", "Div", "Neg")
def product_times(node: Node, x: Value, y: Value | None = None, *, sole: Sole) -> Value | None:
    """(x @ w) * c -> Gemm with alpha = c, for a number c."""
    factor = -1.0 if y is None else number(y)
    found = as_gemm(x)
    if found is None or factor is None or has_addend(found) or not sole(x) or (node.op == "Div" and factor == 0):
        return None
    alpha = float(found.attributes.get("alpha", 1.0))
    return gemm(x, alpha=alpha / factor if node.op == "Div" else alpha * factor)


@rule("MatMul", "Gemm")
def factor_of_operand(node: Node, x: Value, y: Value, c: Value | None = None) -> Value | None:
    """(x * c) @ w -> Gemm with alpha = c, for a number c."""
    if as_gemm(node.output) is None:
        return None
    for place, operand in enumerate((x, y)):
        inner, factor = argument(operand, "Neg"), -1.0
        if inner is None and (factors := arguments(operand, "Mul")) and (known := number(factors[1])) is not None:
            inner, factor = factors[0], known
        if inner is not None and inner.type == operand.type:
            given = dict(node.attributes)
            given["alpha"] = float(given.get("alpha", 1.0)) * factor
            return _gemm(inner, y, c, **given) if place == 0 else _gemm(x, inner, c, **given)
    return None


@rule("Mul", "Div")
def scale_the_smaller(node: Node, x: Value, y: Value, *, sole: Sole, sizes: Mapping[str, int]) -> Value | None:
    """(x @ w) * s -> x @ (w * s) for a scalar s, where an operand has fewer elements than the product."""
    made = x.node
    if not is_scalar(y) or made is None or made.op not in ("MatMul", "Gemm") or not sole(x) or has_addend(made):
        return None
    a, b = made.inputs
    assert a is not None and b is not None
    smaller = min(a, b, key=lambda value: elements(value.type, sizes))
    if elements(smaller.type, sizes) >= elements(x.type, sizes):
        return None
    scaled = op[node.op](smaller, y)
    operands = (scaled, b) if smaller is a else (a, scaled)
    return current().add(made.op, operands, made.attributes).output


@rule("ScatterElements")
def one_hot(node: Node, data: Value, indices: Value, updates: Value, *, sole: Sole) -> Value | None:
    """x * s with -s added at one place of each row -> (x - OneHot) * s: the gradient of the mean cross entropy."""
    axis = node.attributes.get("axis", 0) % data.type.rank
    factors, added = arguments(data, "Mul"), argument(updates, "dlc.ExpandTo")
    classes = data.shape[axis]
    if node.attributes.get("reduction") != "add" or not factors or added is None or not isinstance(classes, int):
        return None
    rows = indices.shape[:axis] + indices.shape[axis + 1 :]
    if indices.shape[axis] != 1 or rows != data.shape[:axis] + data.shape[axis + 1 :]:
        return None
    x, scale = factors
    if not is_scalar(scale) or not is_scalar(added) or sign_between(scale, added) != -1 or not sole(data):
        return None
    label = private.ReshapeTo(indices, shape=rows)
    hot = op.OneHot(label, np.asarray(classes, np.int64), np.asarray([0, 1], x.type.numpy), axis=axis)
    return (x - hot) * scale
