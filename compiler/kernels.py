"""Which kernels the stock ONNX Runtime has, by operator, version and element type: `kernels.json`.

What a graph's nodes would find on CUDA can so be said on a machine without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PROVIDERS = ("CPU", "CUDA")
FLOATS = ("f16", "bf16", "f32", "f64")


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    loaded: Mapping[str, Mapping[str, Any]] = json.loads(
        files("dlc.compiler").joinpath("kernels.json").read_text(encoding="utf-8")
    )
    return loaded


def serving(op: str, opset: int, provider: str) -> list[Mapping[str, str]]:
    """The kernels that serve an operator at the version that an opset gives it, each by the element types that it takes
    (`{"T": "f32 f64"}`, by the schema's type constraint).

    A kernel that is open above serves its own version alone; one with a last version serves all between. Raises
    KeyError for an unknown provider. No kernel where the opset has no such operator.
    """
    from onnx import defs

    try:
        version = defs.get_schema(op, opset).since_version
    except defs.SchemaError:
        return []
    return [
        types
        for since, until, types in _table()[provider].get(op, ())
        if since == version or (until is not None and since < version <= until)
    ]


def has_kernel(op: str, types: Mapping[str, str], opset: int, provider: str) -> bool:
    """Whether a kernel serves an operator on element types, given by type constraint."""
    return any(
        all(types[name] in allowed.split() for name, allowed in kernel.items() if name in types)
        for kernel in serving(op, opset, provider)
    )


def element_types(op: str, opset: int, provider: str, among: Iterable[str] = FLOATS) -> tuple[str, ...]:
    """The element types for which a kernel serves an operator's first input."""
    from onnx import defs

    kernels = serving(op, opset, provider)
    if not kernels:
        return ()
    schema = defs.get_schema(op, opset)
    of = (schema.inputs or schema.outputs)[0].type_str
    return tuple(each for each in among if any(each in kernel.get(of, each).split() for kernel in kernels))


__all__ = ["FLOATS", "PROVIDERS", "element_types", "has_kernel", "serving"]
