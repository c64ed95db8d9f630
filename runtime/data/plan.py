"""The plan of a `data` section as the compiler stores it in a manifest: JSON, checked here once on the way in.

    {"splits":  [{"name": "train", "reader": "mnist_5k", "args": [], "named": {}},
                 {"name": "test", "reader": "holdout", "of": "train", "size": 0.2, "by": null, "seed": 0},
                 {"name": "dev", "reader": "fold", "of": "train", "fold": 0, "folds": 5, "by": "label", "seed": 0}],
     "records": {"image": {"dtype": "u8", "shape": [28, 28]}},
     "columns": {"features": ["class", "sex"]},
     "fields":  {"image": {"dtype": "f32", "shape": [1, 28, 28]}},
     "pictures": ["file"],
     "fitted":  {"digits.image.mean": {"dtype": "f32", "shape": [1, 28, 28], "statistic": "mean", "of": "image:fit"}}}

A `null` dtype, shape or dimension (or a dimension with a name) means: as the reader finds it. A record in `columns`
is gathered from the arrays of those names, along a new last axis; one in `pictures` is decoded from files, in the
channels of its shape. A split may say where it stands in the text: `"at": "lenet.net:4"`. `"training"` names the
split that constants are fitted on (default `train`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

from .errors import DataError, nearest

DTYPES: dict[str, DTypeLike] = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64, "bool": np.bool_,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64,
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
DERIVED = ("holdout", "fold")
STATISTICS = ("mean", "std")
PICTURE = "picture"


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The `.net` name of an element type (`f32`), or NumPy's where `.net` has none."""
    return NAMES.get(dtype.newbyteorder("="), str(dtype))


@dataclass(frozen=True)
class TensorType:
    """An element type and the shape of one example; None stands for whatever is found."""

    dtype: str | None
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        dims = "..." if self.shape is None else ", ".join("_" if d is None else str(d) for d in self.shape)
        return f"{self.dtype or ''}[{dims}]"

    @property
    def numpy(self) -> np.dtype[Any]:
        if self.dtype is None:
            raise DataError(f"the plan leaves the element type of {self} open where it must be known")
        return np.dtype(DTYPES[self.dtype])


@dataclass(frozen=True)
class SplitPlan:
    """One split: read by `reader(*args, **named)`, or taken away from the split `of`."""

    name: str
    reader: str
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    of: str = ""
    size: float | int = 0
    fold: int = 0
    folds: int = 0
    by: str | None = None
    seed: int = 0
    at: str = ""

    @property
    def derived(self) -> bool:
        return self.reader in DERIVED


@dataclass(frozen=True)
class Fitted:
    """A constant fitted on the training split: `statistic` of the fit graph's output `of`, over examples and over the
    axes that `type` shrinks to 1."""

    type: TensorType
    statistic: str
    of: str


@dataclass(frozen=True)
class Plan:
    splits: tuple[SplitPlan, ...]
    records: Mapping[str, TensorType]
    columns: Mapping[str, tuple[str, ...]]
    fields: Mapping[str, TensorType]
    fitted: Mapping[str, Fitted]
    training: str = "train"
    pictures: tuple[str, ...] = ()
    names: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """What the dimensions of the fields are called; None where a number says what one is."""

    @property
    def arrays(self) -> dict[str, str | None]:
        """Every array that a reader must give, with the element type wanted (None where its uses differ, `picture` for
        names of picture files): records, with `columns` unfolded."""
        wanted: dict[str, str | None] = {}
        for record, type_ in self.records.items():
            for name in self.columns.get(record, (record,)):
                dtype = PICTURE if record in self.pictures else type_.dtype
                wanted[name] = dtype if wanted.get(name, dtype) == dtype else None
        return wanted

    def split(self, name: str) -> SplitPlan:
        for split in self.splits:
            if split.name == name:
                return split
        raise DataError(f"this data has no split `{name}`; {nearest(name, [s.name for s in self.splits])}")

    def needed(self, names: list[str]) -> set[str]:
        """The splits with readers that must be read to make the named ones."""
        roots = set()
        for name in names:
            split = self.split(name)
            while split.derived:
                split = self.split(split.of)
            roots.add(split.name)
        return roots


def parse_plan(raw: Any) -> Plan:
    """Checks the JSON of a plan. Raises DataError where it is not of the form above."""
    if isinstance(raw, Plan):
        return raw
    plan = _mapping(raw, "the plan")
    splits: list[SplitPlan] = []
    for at, item in enumerate(plan.get("splits") or ()):
        split = _split(_mapping(item, f"splits[{at}]"), at)
        earlier = [s.name for s in splits]
        if split.name in earlier:
            raise DataError(f"plan: the split `{split.name}` is given twice")
        if split.derived and split.of not in earlier:
            raise DataError(
                f"split `{split.name}`: {split.reader} takes examples from `{split.of}`, which must be a split "
                f"written above it; {nearest(split.of, earlier)}"
            )
        splits.append(split)
    if not splits:
        raise DataError("this data has no splits: give at least `train = some_reader(...)`")
    records = {k: _type(v, f"record `{k}`") for k, v in _mapping(plan.get("records") or {}, "records").items()}
    columns = {k: tuple(v) for k, v in _mapping(plan.get("columns") or {}, "columns").items()}
    for record in columns:
        if record not in records:
            raise DataError(f"plan: columns are gathered into `{record}`, which is not among the records")
    fields = {k: _type(v, f"field `{k}`") for k, v in _mapping(plan.get("fields") or {}, "fields").items()}
    fitted = {k: _fitted(k, v) for k, v in _mapping(plan.get("fitted") or {}, "fitted").items()}
    pictures = tuple(plan.get("pictures") or ())
    training = str(plan.get("training", "train"))
    names = {name: _names(item) for name, item in _mapping(plan.get("fields") or {}, "fields").items()}
    return Plan(tuple(splits), records, columns, fields, fitted, training, pictures, names)


def _mapping(raw: Any, what: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise DataError(f"plan: expected {what} to be a JSON object, found {type(raw).__name__}")
    return raw


def _split(raw: dict[str, Any], number: int) -> SplitPlan:
    for key in ("name", "reader"):
        if not isinstance(raw.get(key), str):
            raise DataError(f"plan: splits[{number}] needs the string `{key}`")
    name, reader = raw["name"], raw["reader"]
    if reader not in DERIVED:
        named, at = dict(raw.get("named") or {}), str(raw.get("at") or "")
        return SplitPlan(name, reader, tuple(raw.get("args") or ()), named, at=at)
    of, by, seed = raw.get("of"), raw.get("by"), raw.get("seed", 0)
    if not isinstance(of, str) or not (by is None or isinstance(by, str)) or not _int(seed):
        raise DataError(f"split `{name}`: {reader} needs `of` (a split), `by` (a record or null) and an integer `seed`")
    if reader == "holdout":
        size = raw.get("size")
        if not _int(size) and not isinstance(size, float):
            raise DataError(f"split `{name}`: holdout needs a size, a fraction or a number of examples; found {size!r}")
        return SplitPlan(name, reader, of=of, by=by, seed=seed, size=size)
    fold, folds = raw.get("fold"), raw.get("folds")
    if not _int(fold) or not _int(folds):
        raise DataError(f"split `{name}`: fold needs the integers `fold` and `folds`; found {fold!r} and {folds!r}")
    return SplitPlan(name, reader, of=of, by=by, seed=seed, fold=fold, folds=folds)


def _int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _type(raw: Any, what: str) -> TensorType:
    item = _mapping(raw, what)
    dtype, shape = item.get("dtype"), item.get("shape")
    if dtype is not None and dtype not in DTYPES:
        raise DataError(f"{what}: the host reads no `{dtype}`; {nearest(str(dtype), DTYPES)}")
    if shape is None:
        return TensorType(dtype, None)
    return TensorType(dtype, tuple(d if _int(d) else None for d in shape))


def _names(field: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(dim if isinstance(dim, str) else None for dim in field.get("shape") or ())


def _fitted(name: str, raw: Any) -> Fitted:
    item = _mapping(raw, f"fitted `{name}`")
    if item.get("statistic") not in STATISTICS or not isinstance(item.get("of"), str):
        raise DataError(f"plan: fitted `{name}` needs a `statistic` ({', '.join(STATISTICS)}) and the value it is `of`")
    return Fitted(_type(item, f"fitted `{name}`"), item["statistic"], item["of"])
