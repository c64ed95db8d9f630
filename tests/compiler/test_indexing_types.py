"""Types of operators that index, move, quantize and draw: attributes, symbolic and unknown dimensions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlc.compiler.build import Builder, ints, op
from dlc.compiler.graph import Value
from dlc.compiler.ops.extents import extent_vector
from dlc.compiler.ops.indexing import counted
from dlc.compiler.registry import IllTyped, NoGradient, operators
from dlc.compiler.types import Polynomial, Type, is_unknown, quotient, symbol, unknown

B, T = symbol("B"), symbol("T")
Make = Callable[..., Value]


def types(build: Callable[[Make], Any]) -> list[str]:
    """The types that `build` gives, with ? for a dimension that depends on data."""
    with Builder() as builder:
        count = iter(range(100))

        def x(*shape: Any, dtype: str = "f32") -> Value:
            return builder.input(f"x{next(count)}", Type(dtype, shape))

        result = build(x)
    found = []
    for value in result if isinstance(result, tuple) else (result,):
        dims = ["?" if isinstance(dim, Polynomial) and is_unknown(str(dim)) else str(dim) for dim in value.shape]
        found.append(f"{value.dtype}[{', '.join(dims)}]")
    return found


def i64(x: Make, *shape: Any) -> Value:
    return x(*shape, dtype="i64")


GOOD: dict[str, tuple[Callable[[Make], Any], str]] = {
    "NonZero": (lambda x: op.NonZero(x(B, 4)), "i64[2, ?]"),
    "NonZero constant": (lambda x: op.NonZero(np.array([[1, 0], [1, 1]])), "i64[2, 3]"),
    "Compress": (lambda x: op.Compress(x(B, 4), x(4, dtype="bool"), axis=-1), "f32[B, ?]"),
    "Compress constant": (lambda x: op.Compress(x(B, 4), np.array([True, False, True]), axis=1), "f32[B, 2]"),
    "Compress flat": (lambda x: op.Compress(x(2, 4), x(8, dtype="bool")), "f32[?]"),
    "Unique": (lambda x: op.Unique(x(2, 3), outputs=4), "f32[?] i64[?] i64[6] i64[?]"),
    "Unique axis": (lambda x: op.Unique(x(B, 3), axis=0, outputs=3), "f32[?, 3] i64[?] i64[B]"),
    "Unique constant": (lambda x: op.Unique(ints(3, 1, 3), outputs=2), "i64[2] i64[2]"),
    "NonMaxSuppression": (lambda x: op.NonMaxSuppression(x(B, 9, 4), x(B, 2, 9)), "i64[?, 3]"),
    "Range": (lambda x: op.Range(x(), x(), x()), "f32[?]"),
    "Range by shape": (lambda x: op.Range(0, op.Squeeze(op.Shape(x(B, 3), end=1)), 1), "i64[B]"),
    "TopK": (lambda x: op.TopK(x(B, 9), i64(x, 1), outputs=2), "f32[B, ?] i64[B, ?]"),
    "TopK indices": (lambda x: op.TopK(x(9, B), ints(3), axis=-2, outputs=2), "f32[3, B] i64[3, B]"),
    "GatherND": (lambda x: op.GatherND(x(B, T, 3, 4), i64(x, B, T, 5, 2), batch_dims=2), "f32[B, T, 5]"),
    "ScatterND": (lambda x: op.ScatterND(x(B, 4, 5), i64(x, T, 1), x(T, 4, 5), reduction="mul"), "f32[B, 4, 5]"),
    "TensorScatter": (lambda x: op.TensorScatter(x(B, 2, 9, 4), x(B, 2, T, 4), i64(x, B)), "f32[B, 2, 9, 4]"),
    "ReverseSequence": (lambda x: op.ReverseSequence(x(T, B, 3), i64(x, B)), "f32[T, B, 3]"),
    "CenterCropPad": (lambda x: op.CenterCropPad(x(B, 9, 3), ints(4, 5), axes=(-1, 1)), "f32[B, 5, 4]"),
    "CumProd": (lambda x: op.CumProd(x(B, 3, dtype="i32"), np.array(-1)), "i32[B, 3]"),
    "Det": (lambda x: op.Det(x(B, T, T)), "f32[B]"),
    "Einsum": (lambda x: op.Einsum(x(B, 1, 3, 4), x(T, 4, 5), equation="...ij,...jk"), "f32[B, T, 3, 5]"),
    "Einsum implicit": (lambda x: op.Einsum(x(2, B), equation="ba"), "f32[B, 2]"),
    "Einsum trace": (lambda x: op.Einsum(x(B, 3, 3), equation="bii"), "f32[B]"),
    "BitwiseAnd": (lambda x: op.BitwiseAnd(x(B, 1, dtype="u8"), x(3, dtype="u8")), "u8[B, 3]"),
    "BitwiseNot": (lambda x: op.BitwiseNot(x(B, dtype="i16")), "i16[B]"),
    "BitCast": (lambda x: op.BitCast(x(B), to="i32"), "i32[B]"),
    "BitCast number": (lambda x: op.BitCast(x(B), to=12), "u32[B]"),
    "CastLike": (lambda x: op.CastLike(x(B, 3), x(dtype="f16")), "f16[B, 3]"),
    "EyeLike": (lambda x: op.EyeLike(x(B, 3), dtype="bool"), "bool[B, 3]"),
    "Bernoulli": (lambda x: op.Bernoulli(x(B), dtype="bool"), "bool[B]"),
    "Multinomial": (lambda x: op.Multinomial(x(B, 5), sample_size=3), "i32[B, 3]"),
    "RandomNormal": (lambda x: op.RandomNormal(shape=(2, 3), dtype="f64"), "f64[2, 3]"),
    "RandomUniformLike": (lambda x: op.RandomUniformLike(i64(x, B), dtype="f16"), "f16[B]"),
    "HannWindow": (lambda x: op.HannWindow(i64(x)), "f32[?]"),
    "BlackmanWindow": (lambda x: op.BlackmanWindow(np.array(6), output_datatype=11), "f64[6]"),
    "MelWeightMatrix": (lambda x: op.MelWeightMatrix(
        np.array(8), np.array(65), np.array(8000), np.float32([0]), np.float32([9])), "f32[33, 8]"),
    "QuantizeLinear": (lambda x: op.QuantizeLinear(x(B, 3), x(3)), "u8[B, 3]"),
    "QuantizeLinear i16": (lambda x: op.QuantizeLinear(x(B, 3), x(), output_dtype=5), "i16[B, 3]"),
    "QuantizeLinear blocks": (lambda x: op.QuantizeLinear(
        x(B, 7), x(B, 3), x(B, 3, dtype="i8"), block_size=3), "i8[B, 7]"),
    "DequantizeLinear": (lambda x: op.DequantizeLinear(x(B, 3, dtype="i8"), x(3, dtype="f16")), "f16[B, 3]"),
    "DequantizeLinear to": (lambda x: op.DequantizeLinear(x(B, dtype="u8"), x(), output_dtype="bf16"), "bf16[B]"),
    "DynamicQuantizeLinear": (lambda x: op.DynamicQuantizeLinear(x(B, 3), outputs=3), "u8[B, 3] f32[] u8[]"),
    "MatMulInteger": (lambda x: op.MatMulInteger(x(B, 3, dtype="u8"), x(3, 5, dtype="i8")), "i32[B, 5]"),
    "ConvInteger": (lambda x: op.ConvInteger(
        x(B, 2, 8, 8, dtype="u8"), x(4, 1, 3, 3, dtype="i8"), group=2, strides=(2, 2)), "i32[B, 4, 3, 3]"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_types(name: str) -> None:
    build, wanted = GOOD[name]
    assert " ".join(types(build)) == wanted


BAD: dict[str, tuple[Callable[[Make], Any], str]] = {
    "ScatterND": (lambda x: op.ScatterND(x(4, 5), i64(x, 3, 1), x(3, 4)), r"the updates must be f32\[3, 5\]"),
    "ScatterND reduction": (lambda x: op.ScatterND(x(4), i64(x, 3, 1), x(3), reduction="sum"), "none, add, mul"),
    "ScatterElements": (lambda x: op.ScatterElements(x(4), i64(x, 3), x(2)), "updates and indices differ"),
    "Scatter": (lambda x: op.Scatter(x(4), i64(x, 3), x(3), reduction="add"), "use ScatterElements"),
    "GatherND": (lambda x: op.GatherND(x(2, 4), i64(x, 3, 1), batch_dims=1), "the first axes of both must agree"),
    "TensorScatter": (lambda x: op.TensorScatter(x(2, 3, 4), x(2, 5, 4)), "5 elements along axis 1 into 3"),
    "TensorScatter axis": (lambda x: op.TensorScatter(x(2, 3, 4), x(1, 3, 4), axis=0), "not in 0"),
    "TensorScatter mode": (lambda x: op.TensorScatter(x(2, 3, 4), x(2, 1, 4), mode="ring"), "linear or circular"),
    "TensorScatter start": (lambda x: op.TensorScatter(x(2, 3, 4), x(2, 1, 4), i64(x, 3)), r"i64\[2\] places"),
    "Compress": (lambda x: op.Compress(x(3, 4), x(4, dtype="bool"), axis=0), "a vector of at most 3"),
    "ReverseSequence": (lambda x: op.ReverseSequence(x(3, 4), i64(x, 3)), r"\[4\] lengths are expected"),
    "ReverseSequence axes": (lambda x: op.ReverseSequence(x(3, 4), i64(x, 3), time_axis=1), "in either order"),
    "NonMaxSuppression": (lambda x: op.NonMaxSuppression(x(1, 9, 3), x(1, 1, 9)), r"\[N, boxes, 4\]"),
    "Range": (lambda x: op.Range(0, 3, 0), "a step of 0"),
    "CumProd": (lambda x: op.CumProd(x(3), ints(1)), "along axis 1 of a tensor of rank 1"),
    "CenterCropPad": (lambda x: op.CenterCropPad(x(3, 4), ints(1)), "one size for each axis"),
    "Det": (lambda x: op.Det(x(3, 4)), "square matrices are expected"),
    "Einsum rank": (lambda x: op.Einsum(x(2, 3), equation="i->i"), '"i" against a tensor of rank 2'),
    "Einsum text": (lambda x: op.Einsum(x(2, 3), equation="i.j->i"), "more than letters and one ellipsis"),
    "Einsum operands": (lambda x: op.Einsum(x(2, 3), equation="i,j->i"), "has 2 operands, 1 are given"),
    "Einsum ellipsis": (lambda x: op.Einsum(x(2, 3), x(4, 3), equation="...i,...i"), "an axis of the ellipsis is 2"),
    "BitwiseAnd": (lambda x: op.BitwiseAnd(x(3), x(3)), "takes an integer, not f32"),
    "BitCast": (lambda x: op.BitCast(x(3), to="i8"), "need as many bits"),
    "EyeLike": (lambda x: op.EyeLike(x(3)), "a matrix is expected"),
    "RandomNormal": (lambda x: op.RandomNormal(), "needs the attribute shape"),
    "RandomUniform": (lambda x: op.RandomUniform(shape=(2,), dtype="i64"), "draws floats, not i64"),
    "Multinomial": (lambda x: op.Multinomial(x(3)), r"\[batch, classes\]"),
    "HannWindow": (lambda x: op.HannWindow(i64(x, 2)), "is one number"),
    "HannWindow size": (lambda x: op.HannWindow(np.array(-2)), "-2 is no size"),
    "QuantizeLinear": (lambda x: op.QuantizeLinear(x(2, 3), x(2)), r"a scale of shape \[3\] is expected"),
    "QuantizeLinear zero": (lambda x: op.QuantizeLinear(x(3), x(), x(2, dtype="u8")), "their shapes differ"),
    "QuantizeLinear to": (lambda x: op.QuantizeLinear(x(3), x(), output_dtype="f32"), "are known"),
    "DequantizeLinear": (lambda x: op.DequantizeLinear(x(3, dtype="u8"), x(), x(dtype="i8")), "the zero point is i8"),
    "MatMulInteger": (lambda x: op.MatMulInteger(x(2, 3, dtype="u8"), x(4, 5, dtype="u8")), "3 columns against 4 rows"),
    "ConvInteger": (lambda x: op.ConvInteger(x(1, 2, 4, 4, dtype="u8"), x(1, 3, 3, 3, dtype="u8")), "2 channels"),
    "TopK": (lambda x: op.TopK(x(3), i64(x, 2), outputs=2), "needs one count"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refusals(name: str) -> None:
    build, message = BAD[name]
    with pytest.raises(IllTyped, match=message):
        types(build)


def test_an_unknown_dimension_equals_only_itself() -> None:
    one, other = unknown(), unknown()
    assert one == one + 1 - 1 and one != other and quotient(3 * one, 3) == one and one - other != 0


def test_what_has_no_gradient_says_why() -> None:
    """Integers, positions and random numbers; "not implemented" is no reason."""
    silent = """NonZero NonMaxSuppression QuantizeLinear MatMulInteger ConvInteger QLinearConv QLinearMatMul BitwiseAnd
    BitwiseOr BitwiseXor BitwiseNot BitShift BitCast BlackmanWindow HammingWindow HannWindow MelWeightMatrix
    RandomNormal RandomUniform RandomNormalLike RandomUniformLike Bernoulli Multinomial EyeLike Hardmax ArgMax ArgMin"""
    for name in silent.split():
        record = operators()[name].gradient
        assert isinstance(record, NoGradient) and "implement" not in record.reason, name


def test_a_vector_of_sizes_has_no_empty_parts() -> None:
    """No sizes are an empty vector, and one that only a run tells is no join."""
    with Builder():
        none, one = extent_vector(()), extent_vector((symbol("N"),))
        two = extent_vector((symbol("N"), 3))
    assert none.constant is not None and none.constant.shape == (0,)
    assert one.op == "Unsqueeze" and one.shape == (1,)
    assert two.node is not None and two.op == "Concat" and len(two.node.inputs) == 2 and two.shape == (2,)


def test_places_are_held_up_to_a_million() -> None:
    with Builder():
        assert counted(1 << 20).constant is not None
        assert counted((1 << 20) + 1).constant is None and counted(symbol("N")).constant is None
