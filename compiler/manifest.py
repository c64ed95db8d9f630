"""The manifest: what ties the inputs and outputs of the written files together, as JSON in each file's metadata.

A host that trains reads it to know which outputs feed which inputs (`carried`), what a batch is, and which scalars
there are. Nothing here needs onnx to read or write the JSON; only `attach` and `read` touch models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc.compiler.types import ONNX_NUMBER, Type, from_onnx_number

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

KEY = "dlc.manifest"
VERSION = 1
KINDS = ("init", "step", "grad", "apply", "eval", "report", "net", "infer", "prepare", "fit")
ROLES = ("parameter", "state", "optimizer", "frozen", "fitted")
FREE = "x_"  # keys that begin so hold whatever their writer likes

Json = Any  # what json.loads gives
Default = int | float | bool | None


class ManifestError(ValueError):
    """A manifest that is missing, malformed, or does not fit its model; the message says where and what was found."""


@dataclass(frozen=True, slots=True)
class Carried:
    """An input that the host keeps between steps. `output` feeds it the next time; None: nothing does (frozen)."""

    output: str | None
    role: str


@dataclass(frozen=True, slots=True)
class Field:
    """An input that comes with each batch; a symbolic dimension is its text, `"B"`."""

    dtype: str
    shape: tuple[int | str, ...]

    @classmethod
    def of(cls, type: Type) -> Field:
        return cls(type.dtype, tuple(dim if isinstance(dim, int) else str(dim) for dim in type.shape))


@dataclass(frozen=True, slots=True)
class Scalar:
    """An input of rank 0; without a default it must be fed.

    `schedule` says how the host moves it between epochs: `{"kind": "plateau", "direction": "lowest", "split": "dev",
    "metric": "loss", "value", "factor", "patience", "threshold", "least"}`.
    """

    dtype: str
    default: Default = None
    schedule: Json = None

    def json(self) -> dict[str, Json]:
        return {"dtype": self.dtype, "default": self.default} | (
            {"schedule": dict(self.schedule)} if self.schedule is not None else {}
        )


@dataclass(frozen=True, slots=True)
class Source:
    """The `.net` file that the model was compiled from; `lets` are the values that `--set` may have changed."""

    file: str
    sha256: str
    lets: Mapping[str, Json]
    dlc: str
    edition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Version 1. `carried`, `batch` and `scalars` list exactly the model's inputs.

    `reports` are outputs to show. `totals` maps each sum over examples to the output that counts them (None: the sum
    itself is wanted) and `constants` are those that read no example: outputs of `eval`, inputs of `report`. `arguments`
    gives for each metric of the host the outputs of `eval` that it takes. `init_batch` names the batch inputs that
    `init` reads too. `data` is the plan of a prepare file. `extensions` are further keys, each beginning with `x_`.
    """

    kind: str
    carried: Mapping[str, Carried] = field(default_factory=dict)
    batch: Mapping[str, Field] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    reports: tuple[str, ...] = ()
    init_batch: tuple[str, ...] = ()
    totals: Mapping[str, str | None] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: Source | None = None
    data: Json = None
    extensions: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest as JSON, keys in order: the same manifest gives the same text. Raises ManifestError."""
        content: dict[str, Json] = {
            "version": VERSION,
            "kind": self.kind,
            "carried": {name: {"output": c.output, "role": c.role} for name, c in self.carried.items()},
            "batch": {name: {"dtype": f.dtype, "shape": list(f.shape)} for name, f in self.batch.items()},
            "scalars": {name: s.json() for name, s in self.scalars.items()},
            "reports": list(self.reports),
            "init_batch": list(self.init_batch),
            "totals": dict(self.totals),
            "constants": list(self.constants),
            "arguments": {metric: list(outputs) for metric, outputs in self.arguments.items()},
            **self.extensions,
        }
        if self.source is not None:
            s = self.source
            content["source"] = {
                "file": s.file, "sha256": s.sha256, "lets": dict(s.lets), "dlc": s.dlc, "edition": s.edition
            }  # fmt: skip
        if self.data is not None:
            content["data"] = self.data
        try:
            text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise ManifestError(f"the manifest cannot be written as JSON: {error}") from None
        if from_json(text) != self:
            raise ManifestError("the manifest does not read back: keys must be strings, and there are no tuples")
        return text

    def check_against(self, model: ModelProto) -> None:
        """Check that the model has exactly the inputs listed, of these types, and the outputs; raises ManifestError."""
        inputs = {value.name: value for value in model.graph.input}
        listed = {**self.carried, **self.batch, **self.scalars}
        _same_names("inputs", set(inputs), set(listed))
        for name, expected in {**self.batch, **{n: Field(s.dtype, ()) for n, s in self.scalars.items()}}.items():
            found = _field(inputs[name])
            if found != expected:
                raise ManifestError(f"the model's input {name} is {_text(found)}, the manifest says {_text(expected)}")
        outputs = {value.name: value for value in model.graph.output}
        wanted = {c.output for c in self.carried.values() if c.output is not None}
        wanted |= set(self.reports)
        if self.kind == "eval":
            wanted |= {*self.totals, *self.constants}
            wanted |= {count for count in self.totals.values() if count is not None}
            wanted |= {name for names in self.arguments.values() for name in names}
        if self.kind == "step":
            wanted |= {"loss", "finite"} & set(outputs)
        listed_all = self.kind in ("step", "eval", "report")  # the outputs of other kinds are listed nowhere else
        _same_names("outputs", set(outputs) if listed_all else wanted & set(outputs), wanted)
        for name, carried in self.carried.items():
            if carried.output is not None and _field(inputs[name]) != _field(outputs[carried.output]):
                raise ManifestError(
                    f"{carried.output} is {_text(_field(outputs[carried.output]))} and cannot be fed to {name}, "
                    f"which is {_text(_field(inputs[name]))}"
                )


def from_json(text: str | bytes) -> Manifest:
    """The manifest of a JSON text; raises ManifestError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest is no JSON: {error}") from None
    top = _object(content, "the manifest")
    version = top.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ManifestError(f"the manifest's version is {version!r}; this dlc reads version {VERSION}")
    known = {
        "version", "kind", "carried", "batch", "scalars", "reports", "init_batch", "totals", "constants", "arguments",
        "source", "data",
    }  # fmt: skip
    unknown = sorted(key for key in top if key not in known and not key.startswith(FREE))
    if unknown:
        raise ManifestError(f"the manifest has the key {unknown[0]!r}, which version {VERSION} has not")
    manifest = Manifest(
        kind=_one_of(top.get("kind"), "kind", KINDS),
        carried=_table(top, "carried", _carried),
        batch=_table(top, "batch", _batch),
        scalars=_table(top, "scalars", _scalar),
        reports=_names(top.get("reports", []), "reports"),
        init_batch=_names(top.get("init_batch", []), "init_batch"),
        totals=_table(top, "totals", _optional_string),
        constants=_names(top.get("constants", []), "constants"),
        arguments=_table(top, "arguments", _names),
        source=None if top.get("source") is None else _source(top["source"]),
        data=top.get("data"),
        extensions={key: value for key, value in top.items() if key.startswith(FREE)},
    )
    _consistent(manifest)
    return manifest


def _consistent(manifest: Manifest) -> None:
    sections = {"carried": manifest.carried, "batch": manifest.batch, "scalars": manifest.scalars}
    seen: dict[str, str] = {}
    for section, names in sections.items():
        for name in names:
            if name in seen:
                raise ManifestError(f"the manifest lists the input {name} under {seen[name]} and under {section}")
            seen[name] = section
    fed: dict[str, str] = {}
    for name, carried in manifest.carried.items():
        if carried.output is not None and fed.setdefault(carried.output, name) != name:
            raise ManifestError(f"the output {carried.output} feeds both {fed[carried.output]} and {name}")
    for name in manifest.init_batch:
        if name not in manifest.batch:
            raise ManifestError(f"init_batch lists {name}, which is not under batch")


def attach(model: ModelProto, manifest: Manifest) -> None:
    """Write the manifest into the model's metadata, over one that is there. Raises ManifestError."""
    text = manifest.to_json()
    for entry in model.metadata_props:
        if entry.key == KEY:
            entry.value = text
            return
    model.metadata_props.add(key=KEY, value=text)


def read(model: ModelProto | str | Path) -> Manifest:
    """The manifest of a model or of an ONNX file; raises ManifestError, for a file that cannot be read too."""
    if isinstance(model, str | Path):
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        where = str(model)
        try:
            model = onnx.load(where, load_external_data=False)
        except OSError as error:
            raise ManifestError(f"cannot read {where}: {error.strerror or error}") from None
        except DecodeError:
            raise ManifestError(f"{where} is no ONNX file") from None
    else:
        where = "the model"
    for entry in model.metadata_props:
        if entry.key == KEY:
            try:
                return from_json(entry.value)
            except ManifestError as error:
                raise ManifestError(f"{where}: {error}") from None
    raise ManifestError(f"{where} has no manifest (metadata {KEY}): dlc did not write it")


def _same_names(kind: str, model: set[str], manifest: set[str]) -> None:
    missing, unlisted = sorted(manifest - model), sorted(model - manifest)
    if missing:
        raise ManifestError(f"the manifest lists {kind} that the model does not have: {', '.join(missing)}")
    if unlisted:
        raise ManifestError(f"the model has {kind} that the manifest does not list: {', '.join(unlisted)}")


def _field(value: ValueInfoProto) -> Field:
    tensor = value.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim)
    try:
        return Field(from_onnx_number(tensor.elem_type), tuple(dims))
    except KeyError:
        raise ManifestError(f"{value.name} has the element type {tensor.elem_type}, which dlc does not have") from None


def _text(field: Field) -> str:
    return f"{field.dtype}[{', '.join(map(str, field.shape))}]"


def _fail(where: str, expected: str, found: Json) -> ManifestError:
    shown = json.dumps(found, ensure_ascii=False)
    return ManifestError(f"{where}: expected {expected}, found {shown if len(shown) < 60 else shown[:57] + '...'}")


def _object(value: Json, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise _fail(where, "an object", value)
    return value


def _record(value: Json, where: str, *keys: str) -> dict[str, Json]:
    """An object with exactly these keys."""
    found = _object(value, where)
    if set(found) != set(keys):
        raise _fail(where, f"an object with the keys {', '.join(keys)}", value)
    return found


def _table(top: Mapping[str, Json], name: str, entry: Callable[[Json, str], Any]) -> dict[str, Any]:
    return {key: entry(value, f"{name}.{key}") for key, value in _object(top.get(name, {}), name).items()}


def _string(value: Json, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _fail(where, "a string that is not empty", value)
    return value


def _optional_string(value: Json, where: str) -> str | None:
    return None if value is None else _string(value, where)


def _one_of(value: Json, where: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise _fail(where, f"one of {', '.join(allowed)}", value)
    return str(value)


def _names(value: Json, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _fail(where, "a list of names", value)
    names = tuple(_string(item, where) for item in value)
    if len(set(names)) != len(names):
        raise _fail(where, "names that differ", value)
    return names


def _dtype(value: Json, where: str) -> str:
    if not isinstance(value, str) or value not in ONNX_NUMBER:
        raise _fail(where, f"one of {', '.join(ONNX_NUMBER)}", value)
    return value


def _carried(value: Json, where: str) -> Carried:
    record = _record(value, where, "output", "role")
    role = _one_of(record["role"], f"{where}.role", ROLES)
    return Carried(_optional_string(record["output"], f"{where}.output"), role)


def _batch(value: Json, where: str) -> Field:
    record = _record(value, where, "dtype", "shape")
    shape = record["shape"]
    if not isinstance(shape, list) or not all(
        (type(dim) is int and dim >= 0) or (isinstance(dim, str) and dim) for dim in shape
    ):
        raise _fail(f"{where}.shape", "a list of sizes and names of dimensions", shape)
    return Field(_dtype(record["dtype"], f"{where}.dtype"), tuple(shape))


def _scalar(value: Json, where: str) -> Scalar:
    schedule = value.get("schedule") if isinstance(value, dict) else None
    record = _record(value, where, "dtype", "default", *(("schedule",) if schedule is not None else ()))
    if schedule is not None and not isinstance(schedule, dict):
        raise _fail(f"{where}.schedule", "an object", schedule)
    if record["default"] is not None and not isinstance(record["default"], int | float):
        raise _fail(f"{where}.default", "a number, true, false or null", record["default"])
    return Scalar(_dtype(record["dtype"], f"{where}.dtype"), record["default"], schedule)


def _source(value: Json) -> Source:
    record = _record(value, "source", "file", "sha256", "lets", "dlc", "edition")
    if type(record["edition"]) is not int:
        raise _fail("source.edition", "an integer", record["edition"])
    return Source(
        _string(record["file"], "source.file"),
        _string(record["sha256"], "source.sha256"),
        _object(record["lets"], "source.lets"),
        _string(record["dlc"], "source.dlc"),
        record["edition"],
    )


__all__ = [
    "FREE", "KEY", "KINDS", "ROLES", "VERSION", "Carried", "Field", "Manifest", "ManifestError", "Scalar", "Source",
    "attach", "from_json", "read",
]  # fmt: skip
