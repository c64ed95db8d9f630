"""Running an ONNX model on inputs as people have them: pictures, arrays, numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dlc.compiler.manifest import KEY, Manifest, ManifestError, from_json
from dlc.runtime import session
from dlc.runtime.checkpoint import Array
from dlc.runtime.data.archive import load_npy, load_npz
from dlc.runtime.data.errors import DataError, nearest
from dlc.runtime.data.pictures import SUFFIXES
from dlc.runtime.data.plan import dtype_name
from dlc.runtime.errors import InputError, RunError
from dlc.runtime.picture import read_picture
from dlc.runtime.session import open_session, reason, silent
from dlc.runtime.stepper import TYPES

Note = Callable[[str], None]
ROWS = 10  # examples of a batch that are told one by one
CHOICES = 3  # classes that are told of an example
NOT_FINITE = re.compile(r"(?<![\w./])[+-]?(nan|inf|infinity)(?![\w./])", re.IGNORECASE)  # as JSON does not spell it
CLASSES = "x_classes"  # a key of the manifest: for each output that scores classes, their names in order, or numbers


@dataclass(frozen=True)
class Prediction:
    """`outputs` by name, batch first; `text` says them to people, a line or a few for each. `classes` are the names
    of what an output [examples, classes] scores, where the model knows them."""

    outputs: dict[str, Array]
    text: str
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """An input of a model; a dimension is a number, or a name (None) where any size will do."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]

    @property
    def batched(self) -> bool:
        return bool(self.shape) and not isinstance(self.shape[0], int)

    @property
    def record(self) -> tuple[int | str | None, ...]:
        """The shape of one example."""
        return self.shape[1:] if self.batched else self.shape

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}[{', '.join('?' if dim is None else str(dim) for dim in self.shape)}]"


def run_model(
    model: Path, inputs: Mapping[str, str], *, device: str = "cpu", threads: int = 0, note: Note = silent
) -> Prediction:
    """Run `model` on `inputs`, the texts of `--input NAME=TEXT`.

    A text is a file (.png, .jpg and other pictures, .npy, .npz, .csv) or numbers (`5`, `[1, 2.5]`). The batch's
    dimension is added where it is missing, and so are leading 1s of an example. Pictures become [channels, height,
    width] of a u8 input, grey for one channel, resized to its size with a note. Raises InputError: an input that is
    missing or unknown, a file that cannot be read, a type or shape that does not fit, a model with weights outside.
    """
    content = _read(model)
    opened = open_session(content, session.device(device, note), threads)
    manifest = _manifest(opened)
    _refuse_weightless(model, manifest)
    wanted = {each.name: _wanted(model, each) for each in opened.get_inputs()}
    for name in inputs:
        if name not in wanted:
            raise InputError(f"{model} has no input `{name}`; {nearest(name, wanted)}")
    for name, each in wanted.items():
        if name not in inputs:
            raise InputError(f"the input `{name}`, {each}, is not given", f"give it with --input {name}=FILE")
    fed = {name: fitted(_value(each, inputs[name], note), each, inputs[name]) for name, each in wanted.items()}
    names = [each.name for each in opened.get_outputs()]
    try:
        values = opened.run(names, fed)
    except Exception as error:  # ONNX Runtime's exceptions have no other common base
        raise RunError(f"{model} fails on these inputs: {reason(error)}") from error
    outputs = {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
    classes = _classes(manifest, outputs)
    lines = (line for name, value in outputs.items() for line in told(name, value, classes.get(name)))
    return Prediction(outputs, "\n".join(lines), classes)


def _read(model: Path) -> bytes:
    """The model's bytes. Raises InputError if they refer to other files: ONNX Runtime would follow links anywhere."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        content = model.read_bytes()
        graph = onnx.load_model_from_string(content).graph
    except OSError as error:
        raise InputError(f"{model}: {(error.strerror or str(error)).lower()}") from error
    except DecodeError:
        raise InputError(f"{model} is no ONNX file") from None
    waiting = [graph]
    while waiting:
        part = waiting.pop()
        attributes = [attribute for node in part.node for attribute in node.attribute]
        waiting += [each.g for each in attributes if each.HasField("g")]
        waiting += [body for each in attributes for body in each.graphs]
        tensors = [*part.initializer, *(each.t for each in attributes if each.HasField("t"))]
        for tensor in tensors:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise InputError(f"{model} keeps {tensor.name or 'a tensor'} in another file; expected all in one file")
    return content


def _manifest(opened: Any) -> Manifest | None:
    """The manifest of a file of dlc's; None for models from elsewhere."""
    text = opened.get_modelmeta().custom_metadata_map.get(KEY)
    try:
        return from_json(text) if text is not None else None
    except ManifestError:
        return None


def _classes(manifest: Manifest | None, outputs: Mapping[str, Array]) -> dict[str, tuple[str, ...]]:
    """The names of the classes that outputs score, as far as there is one for each."""
    said = manifest.extensions.get(CLASSES) if manifest is not None else None
    found: dict[str, tuple[str, ...]] = {}
    for output, names in said.items() if isinstance(said, dict) else ():
        scores = outputs.get(output)
        if scores is None or scores.ndim != 2 or not isinstance(names, list) or len(names) != scores.shape[1]:
            continue
        if all(isinstance(name, str) and name.isprintable() for name in names):
            found[output] = tuple(names)
    return found


def _refuse_weightless(model: Path, manifest: Manifest | None) -> None:
    if manifest is not None and manifest.carried:
        some = next(iter(manifest.carried))
        help = "`dlc export RUN_FOLDER -o FILE.onnx` writes a file that has its weights inside"
        raise InputError(f"{model} takes its weights ({some}, ...) as inputs", help)


def _wanted(model: Path, value: Any) -> Wanted:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if kind not in TYPES:
        raise InputError(f"{model}: the input `{value.name}` is a {value.type}, which cannot be given here")
    return Wanted(value.name, np.dtype(TYPES[kind]), tuple(value.shape))


def _value(wanted: Wanted, text: str, note: Note) -> Array:
    """What the text of an input stands for, in its own type and shape."""
    try:
        return _numbers(wanted, json.loads(text))
    except (ValueError, RecursionError):
        pass  # no JSON, so a file
    path = Path(text)
    suffix = path.suffix.lower()
    try:
        if not path.is_file():
            help = "what is not finite is written NaN, Infinity, -Infinity" if NOT_FINITE.search(text) else None
            raise InputError(f"--input {wanted.name}={text}: neither a file nor numbers like `5` or `[1, 2.5]`", help)
        if suffix in SUFFIXES:
            return read_picture(path, wanted.name, wanted.dtype, wanted.record, note)
        if suffix == ".npy":
            return load_npy(path)
        if suffix == ".npz":
            return load_npz(path, wanted.name)
        if suffix == ".csv":
            return _table(path, wanted)
    except DataError as error:
        raise InputError(str(error)) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    raise InputError(f"{path}: expected a picture ({', '.join(SUFFIXES)}), .npy, .npz or .csv")


def _numbers(wanted: Wanted, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(f"`{wanted.name}`: expected numbers in rows of equal length, found {json.dumps(value)[:60]}")
    return array


def _table(path: Path, wanted: Wanted) -> Array:
    """The numbers of a .csv, [rows, columns]; a first line that is no numbers is a header."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    try:
        [float(cell) for cell in lines[0].split(",")] if lines else None
    except ValueError:
        lines = lines[1:]
    rows = [[float(cell) for cell in line.split(",")] for line in lines if line.strip()]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise InputError(f"{path}: expected rows of equally many numbers, separated by commas")
    table = np.asarray(rows)
    return table[:, 0] if len(wanted.shape) == 1 and table.shape[1] == 1 else table


def fitted(array: Array, wanted: Wanted, what: str) -> Array:
    """`array` in the type and shape of an input. Raises InputError: nothing is cut, rounded or repeated."""
    record = wanted.record
    if wanted.batched and array.ndim == len(wanted.shape) - 1 and _fits(array.shape, record):
        array = array[None]  # one example
    elif not _fits(array.shape, wanted.shape):
        array = _with_ones(array, wanted, what)
    kind = wanted.dtype.kind
    if array.dtype == wanted.dtype:
        return np.asarray(array, order="C")
    if array.dtype.kind not in "biuf" or (kind == "b" and array.dtype.kind == "f"):
        raise InputError(f"`{wanted.name}`: expected {wanted}, found {array.dtype} in {what}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(wanted.dtype)
    if kind != "f" and not np.array_equal(cast, array):
        bad = np.asarray(array)[cast != array].flat[0]
        raise InputError(f"`{wanted.name}` is {wanted}, and {what} holds {bad}, which is no {dtype_name(wanted.dtype)}")
    return np.asarray(cast, order="C")


def _with_ones(array: Array, wanted: Wanted, what: str) -> Array:
    record = wanted.record
    missing = len(record) - array.ndim
    if missing >= 0 and _fits((1,) * missing + array.shape, record):
        alone = array.reshape((1,) * missing + array.shape)
        return alone[None] if wanted.batched else alone
    if wanted.batched and array.ndim >= 1 and missing + 1 >= 0:
        shape = (array.shape[0], *(1,) * (missing + 1), *array.shape[1:])
        if _fits(shape, wanted.shape):
            return array.reshape(shape)
    raise InputError(f"`{wanted.name}` is {wanted}, and {what} has the shape {list(array.shape)}")


def _fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(not isinstance(dim, int) or dim == size for size, dim in pairs)


def told(name: str, value: Array, classes: Sequence[str] | None = None) -> list[str]:
    """An output as lines for people: of scores [examples, classes] the likeliest classes by name, else the numbers."""
    if classes is None or value.dtype.kind != "f" or value.ndim != 2 or value.shape[1] < 2 or not len(value):
        shown = np.array2string(value, precision=4, threshold=20, separator=", ", suppress_small=True)
        return [f"{name} {dtype_name(value.dtype)}{list(value.shape)}: {shown}"]
    exact = value.astype(np.float64)
    shares = bool((exact >= 0).all()) and bool(np.allclose(exact.sum(axis=1), 1, atol=1e-3))
    if not shares:
        exact = np.exp(exact - exact.max(axis=1, keepdims=True))
        exact /= exact.sum(axis=1, keepdims=True)
    lines = []
    for at, row in enumerate(exact[:ROWS]):
        label = f"{name}[{at}]" if len(exact) > 1 else name
        best, *others = (f"{classes[each]} ({row[each]:.1%})" for each in np.argsort(-row, kind="stable")[:CHOICES])
        lines.append(f"{label}: {best}{', then ' + ', '.join(others) if others else ''}")
    more = len(exact) - len(lines)
    return [*lines, *([f"and {more} more"] if more else []), *([] if shares else ["percentages by softmax"])]
