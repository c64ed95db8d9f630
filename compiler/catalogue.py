"""What dlc knows of each of ONNX's operators: the content of `dlc ops`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dlc.compiler.importing.sequences import RESOLVED
from dlc.compiler.kernels import element_types
from dlc.compiler.registry import Expansion, NoGradient, ZeroGradient, operators

if TYPE_CHECKING:
    from onnx.defs import OpSchema

OPSET = 21  # that of the products
KINDS = ("rule", "expansion", "zero", "none")
STRINGS = "it works on strings"
NO_TENSOR = "it reads an encoded file"
LATER = "control flow is not differentiated by this version of dlc"


@dataclass(frozen=True, slots=True)
class Entry:
    """One operator of ONNX's own domain, at its newest version.

    `gradient` is "rule", "expansion" (into simpler operators, or into nothing but tensors where a sequence is resolved
    while a model is read), "zero" (it exists, and is zero but where the operator jumps) or "none"; the last two for the
    reason given. `cpu` and `cuda` are the
    float types (every type, for an operator without floats) for which ONNX Runtime has a kernel at opset 21; `body`
    tells whether ONNX defines the operator by others, so that it runs without a kernel. `tested` names what dlc's tests
    compare the gradient with.
    """

    name: str
    since: int
    gradient: str
    reason: str
    cpu: tuple[str, ...]
    cuda: tuple[str, ...]
    body: bool
    tested: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """The entry as JSON."""
        return {
            "name": self.name,
            "since": self.since,
            "gradient": self.gradient,
            "reason": self.reason,
            "cpu": list(self.cpu),
            "cuda": list(self.cuda),
            "body": self.body,
            "tested": list(self.tested),
        }


def catalogue() -> list[Entry]:
    """Every operator of ONNX's domain "" that the installed onnx has, by name."""
    from onnx import defs

    newest: dict[str, OpSchema] = {}
    for schema in defs.get_all_schemas_with_history():
        known = newest.get(schema.name)
        if schema.domain == "" and (known is None or schema.since_version > known.since_version):
            newest[schema.name] = schema
    return [_entry(newest[name]) for name in sorted(newest)]


def _entry(schema: OpSchema) -> Entry:
    gradient, reason = _gradient(schema)
    described: Any = schema  # onnx's stubs leave out what says whether there is a body
    return Entry(
        schema.name,
        schema.since_version,
        gradient,
        reason,
        element_types(schema.name, OPSET, "CPU") or element_types(schema.name, OPSET, "CPU", ALL),
        element_types(schema.name, OPSET, "CUDA") or element_types(schema.name, OPSET, "CUDA", ALL),
        bool(described.has_function or described.has_context_dependent_function),
        tuple(_tested().get(schema.name, ())),
    )


ALL = ("bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "str")


def _gradient(schema: OpSchema) -> tuple[str, str]:
    record = operators().get(schema.name)
    found = record.gradient if record is not None else None
    if isinstance(found, NoGradient):
        return "zero" if isinstance(found, ZeroGradient) else "none", found.reason
    if isinstance(found, Expansion):
        return "expansion", ""
    if found is not None:
        return "rule", ""
    if schema.name in ("If", "Loop", "Scan"):
        return "none", LATER
    if schema.name in RESOLVED:
        reason = RESOLVED[schema.name].reason
        return "none" if reason else "expansion", reason
    types = [str(each) for formal in (*schema.inputs, *schema.outputs) for each in formal.types]
    if "tensor(string)" in types:
        return "none", STRINGS
    return "none", NO_TENSOR if schema.name == "ImageDecoder" else ""


@cache
def _tested() -> dict[str, list[str]]:
    """What each gradient is compared with, as the tests have written it down."""
    text = files("dlc.compiler").joinpath("tested.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(text)
    return found


__all__ = ["KINDS", "Entry", "catalogue"]
