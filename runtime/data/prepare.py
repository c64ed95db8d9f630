"""From files to the fields of every example: read, split, fit, run `prepare`, cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlc.runtime.session import runtime

from .bounds import Bound, check_bounds
from .cache import Store, cache_folder
from .classes import check_known, of_fields
from .errors import DataError, nearest
from .fit import check_given, fit
from .graph import Graph
from .pictures import Pictures
from .plan import Plan, TensorType, parse_plan
from .records import Array, Progress, Records, Say, silent
from .sizes import sizes_of
from .splits import PlanLike, foresee, read

_FORMAT = "dlc prepared 1"


@dataclass(frozen=True)
class Split:
    """Prepared examples: `fields[name]` is [n, ...], read-only and often memory-mapped. `sha256` is the hash of the
    decoded records they come from, `sizes` what the named dimensions of the fields are."""

    name: str
    fields: dict[str, Array]
    sha256: str
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))


@dataclass(frozen=True)
class Dataset:
    """The splits asked for, the fitted constants by address, and `data_hash`: sha256 over the names and decoded
    records of these splits (what `--resume` compares). `origins` maps source to licence, where the reader told
    one; `classes` a field of class numbers to the names of the classes, where the reader knows them."""

    splits: dict[str, Split]
    fitted: dict[str, Array]
    data_hash: str
    origins: dict[str, str | None]
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def split(self, name: str) -> Split:
        """Raises DataError listing the splits there are."""
        if name not in self.splits:
            raise DataError(f"no split `{name}` was loaded; {nearest(name, self.splits)}")
        return self.splits[name]

    @property
    def content(self) -> dict[str, list[Any]]:
        """Of each split how many examples it has, and the hash of their records: JSON, for telling what changed."""
        return {name: [len(split), split.sha256] for name, split in self.splits.items()}


def prepare(
    plan: PlanLike,
    prepare_model: bytes,
    fit_model: bytes | None,
    folder: Path,
    *,
    splits: Sequence[str] | None = None,
    fitted: Mapping[str, Array] | None = None,
    bounds: Mapping[str, Bound] = {},
    known: Mapping[str, Sequence[str]] = {},
    later: Sequence[str] = (),
    say: Say = silent,
    progress: Progress = silent,
    cache: Path | None = None,
) -> Dataset:
    """Prepares the splits asked for (default: all of them).

    plan: as plan.py describes, from the manifest. prepare_model: ONNX, (fitted constants, one record) -> the plan's
    fields. fit_model: ONNX, one record -> the values that constants are fitted on, needed only if there are such and
    `fitted` (the constants of a saved run) is not given. folder: where relative paths begin. bounds: what some fields
    may hold. known: the names of the classes that some fields must count. later: splits that are not loaded, but must
    have the classes of the training split. say, progress: callbacks for notes and for (what, done, total). cache:
    instead of the user's cache folder.

    Constants are fitted on the training split alone. What was prepared is kept in the cache, keyed by graph, types,
    constants, records and version of ONNX Runtime; where the cache cannot be written, in memory.

    Raises DataError for every mistake in data, files or plan.
    """
    plan = parse_plan(plan)
    cache = cache or cache_folder()
    names = [s.name for s in plan.splits] if splits is None else list(dict.fromkeys(splits))
    if not names:
        raise DataError("expected the name of a split to load, found none")
    if not plan.fields:
        raise DataError("this data section declares no fields")
    must_fit = bool(plan.fitted) and fitted is None
    if must_fit and plan.training not in [s.name for s in plan.splits]:
        raise DataError(f"constants are fitted on the split `{plan.training}`, which this data section does not have")
    wanted = list(dict.fromkeys([*names, plan.training])) if must_fit else names
    records = read(plan, folder, splits=wanted, say=say, progress=progress, cache=cache)
    if plan.training in records:
        foresee(plan, folder, records[plan.training], later, cache)
    hashes = {name: records[name].sha256 for name in wanted}
    keeper = _Keeper(Store(cache / "prepared"), say)

    if must_fit:
        try:
            constants = _fit(plan, fit_model, records[plan.training], hashes[plan.training], keeper, progress)
        except DataError as error:
            raise _placed(plan, plan.training, error) from error
    else:
        constants = check_given(plan, fitted or {})
    made: dict[str, Split] = {}
    for name in names:
        try:
            fields = _fields(plan, prepare_model, constants, records[name], hashes[name], keeper, name, progress)
            check_known(fields, known, records[name])
            check_bounds(fields, bounds, records[name])
            made[name] = Split(name, fields, hashes[name], sizes_of(plan, fields))
        except DataError as error:
            raise _placed(plan, name, error) from error
    data_hash = _key(*(f"{name}={hashes[name]}" for name in sorted(names)))
    origins = {records[name].source: records[name].licence for name in names}
    classes = [of_fields(made[name].fields, records[name]) for name in names]
    # A field that is a record in every split, not by chance in one.
    named = {key: value for key, value in classes[0].items() if all(each.get(key) == value for each in classes)}
    return Dataset(made, constants, data_hash, origins, named)


def _placed(plan: Plan, name: str, error: DataError) -> DataError:
    """The mistake with the line of the text that asked for what was read."""
    split = plan.split(name)
    while split.derived:
        split = plan.split(split.of)
    return DataError(f"split `{split.name}` ({split.at}): {error}") if split.at else error


def _fit(
    plan: Plan, model: bytes | None, records: Records, data: str, keeper: _Keeper, progress: Progress
) -> dict[str, Array]:
    if model is None:
        raise DataError("constants are to be fitted, but there is no graph to fit them with")
    asked = {name: [f.statistic, f.of, str(f.type)] for name, f in plan.fitted.items()}

    def compute() -> Iterator[dict[str, Array]]:
        outputs = {f.of: TensorType(None, None) for f in plan.fitted.values()}
        blocks = Graph.load(model, "fit").blocks(records, {}, outputs, f"fitting on {plan.training}", progress)
        yield {name: value[None] for name, value in fit(plan, blocks).items()}

    kept = keeper.get(_key("fit", _runtime(records), model, json.dumps(asked, sort_keys=True), data), 1, compute)
    return {name: np.array(kept[name][0]) for name in plan.fitted}


def _fields(
    plan: Plan, model: bytes, constants: Mapping[str, Array], records: Records, data: str, keeper: _Keeper, name: str,
    progress: Progress,
) -> dict[str, Array]:  # fmt: skip
    types = json.dumps({field: str(type_) for field, type_ in plan.fields.items()}, sort_keys=True)
    given = [part for key in sorted(constants) for part in (key, str(constants[key].shape), constants[key].tobytes())]

    def compute() -> Iterator[dict[str, Array]]:
        yield from Graph.load(model, "prepare").blocks(records, constants, plan.fields, f"preparing {name}", progress)

    kept = keeper.get(_key("prepare", _runtime(records), model, types, *given, data), len(records), compute)
    return {field: kept[field] for field in plan.fields}


@dataclass(frozen=True)
class _Keeper:
    """Computes arrays once: from the store if it has them, else into it, else into memory."""

    store: Store
    say: Say

    def get(self, key: str, n: int, compute: Callable[[], Iterator[dict[str, Array]]]) -> dict[str, Array]:
        kept = self.store.load(key)
        if kept is None:
            if self.store.damaged(key):
                self.say(f"the cached data in {self.store.folder / key} is damaged; it is made again")
            try:
                self.store.write(key, n, compute())
                kept = self.store.load(key)
            except OSError as error:
                why = error.strerror or error
                self.say(f"the cache {self.store.folder} cannot be written ({why}); keeping the data in memory")
        if kept is None:
            blocks = list(compute())
            kept = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
            for array in kept.values():
                array.setflags(write=False)
        return kept


def _runtime(records: Records) -> str:
    """What else the result depends on: the versions of what runs the graph and decodes pictures."""
    version = str(runtime().__version__)
    if any(isinstance(column, Pictures) for column in records.arrays.values()):
        import PIL

        return f"{version} {PIL.__version__}"
    return version


def _key(*parts: str | bytes) -> str:
    """sha256 over the parts, each with its length before it."""
    digest = hashlib.sha256(_FORMAT.encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
