"""One ONNX file of a trained net, weights inside, for use anywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlc.compiler.elaborate.run import holds
from dlc.runtime.atomic import write_atomically
from dlc.runtime.checkpoint import Array, Signature
from dlc.runtime.compiled import Compiled
from dlc.runtime.data.errors import DataError, listed
from dlc.runtime.data.fit import check_given
from dlc.runtime.data.plan import parse_plan
from dlc.runtime.errors import InputError, UsageError
from dlc.runtime.evaluate import load_weights, weight_of
from dlc.runtime.folder import RunFolder
from dlc.runtime.predict import CLASSES
from dlc.runtime.pretrained import load, read
from dlc.runtime.session import open_session, silent
from dlc.runtime.start import tell

if TYPE_CHECKING:
    from onnx import ModelProto

    from dlc.compiler.outcome import Outcome
    from dlc.compiler.program import Program
    from dlc.compiler.unit import Unit


@dataclass(frozen=True)
class Exported:
    """What was written. `inputs` and `outputs` are texts, `{"image": "u8[B, 1, 28, 28]"}`; `prepared` says whether
    `prepare` is in front, so that the inputs are what the data's reader gives."""

    path: Path
    bytes: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    weights: str
    prepared: bool


def export(
    folder: Path, out: Path, raw: bool = False, weights: str = "best", *, note: Callable[[str], None] = silent
) -> Exported:
    """Write the net of the run in `folder` to `out`, with its `best` or `last` weights or those of a file inside.

    Unless `raw`, the data's `prepare` is in front: the inputs keep the net's names and take what the reader gives.
    `note` is told where that is not possible and the net is written raw. Raises InputError, DataError (a constant of
    the data that does not fit), UsageError (`out` is no name of an ONNX file), EmitError.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"cannot export to {out}: expected a name that ends in .onnx")
    if not out.parent.is_dir():
        raise UsageError(f"cannot export to {out}: there is no folder {out.parent}")
    opened = RunFolder.open(folder)
    compiled = Compiled.load(opened.model, opened.settings)
    tensors, name = load_weights(opened, weights)
    program = compiled.program(opened.model)
    model, prepared = _filled(program, compiled.net, None if raw else compiled.data, tensors, note)
    _name_classes(model, program.outcome(compiled.run), opened.classes)
    content = _checked(model)
    write_atomically(out, [content])
    graph = model.graph
    inputs, outputs = ({each.name: _type(each) for each in side} for side in (graph.input, graph.output))
    return Exported(out, len(content), inputs, outputs, name, prepared)


def nets_filled(
    program: Program,
    path: Path,
    runs: Collection[str] | None = None,
    raw: bool = False,
    *,
    note: Callable[[str], None] = silent,
) -> dict[str, ModelProto]:
    """`N.onnx` with the weights of a .safetensors or .npz file inside, for every net of which the file has weights.

    Addresses and layouts of other programs fit as for `load`. Unless `raw`, `prepare` is in front: of the data that the
    net learns from in `runs` (all by default), with the constants of the file. Raises SourceError, InputError, and
    UsageError for a net that learns from several data.
    """
    owners = {name: program.net(name) for name in program.nets}
    if not owners:
        raise UsageError(f"{program.source.main.file} has no net that could take the weights of {path}")
    tensors, _ = read(path)
    chosen = [name for name in owners if any(holds(name, address) for address in tensors)]
    if len(owners) == 1:
        chosen = list(owners)
    if not chosen:
        raise InputError(
            f"{path} has no weight of {listed(list(owners))}",
            f"it has {listed(list(tensors)) or 'none'}; `dlc weights rename` moves weights to other addresses",
        )
    made = {}
    for net in chosen:
        sections = {name: run for name, run in program.runs.items() if run.net.text == net}
        asked = [name for name in sections if runs is None or name in runs]
        datas = dict.fromkeys(sections[name].data.text for name in asked)
        if len(datas) > 1 and not raw:
            help = f"name the run, as in FILE.net:{asked[0]}, or write the net alone with --raw"
            raise UsageError(f"`{net}` learns from {listed(list(datas))}: which of them is to be in front?", help)
        unit = program.net(net)
        wanted = {address: _signature(unit, address) for address in unit.carried}
        loaded = load(path, net, wanted)
        tell(replace(loaded, unused=[]), path, net, note)  # the rest may be other nets', or constants of the data
        weights = {**tensors, **loaded.tensors}
        try:
            model, _ = _filled(program, net, None if raw else next(iter(datas), None), weights, note)
        except DataError as error:
            help = "--raw writes the net alone, without the preparation that needs them"
            raise InputError(f"{path}: {error}", help) from error
        if asked:
            _name_classes(model, program.outcome(asked[0]), {})
        _checked(model)
        made[f"{net}.onnx"] = model
    return made


def _signature(unit: Unit, address: str) -> Signature:
    wanted = unit.graph.input(address).type
    return np.dtype(wanted.numpy), tuple(int(dim) for dim in wanted.shape if isinstance(dim, int))


def _filled(
    program: Program, net: str, data: str | None, tensors: Mapping[str, Array], note: Callable[[str], None] = silent
) -> tuple[ModelProto, bool]:
    """The net with its weights of `tensors` inside, and whether `prepare` of `data` is in front.

    It is, where `data` is named and its records can be batched; `note` is told where they cannot. Raises InputError for
    a weight that is missing or does not fit, DataError for such a fitted constant.
    """
    from dlc.compiler.products import NotBatched, deployed

    unit = program.net(net)
    for address in unit.carried:
        weight_of(tensors, address, _signature(unit, address))
    if data is not None:
        plan = program.prepare(data).plan
        assert plan is not None
        check_given(parse_plan(plan.json()), tensors)
        try:
            return deployed(program, net, tensors, data), True
        except NotBatched as error:
            note(f"`{data}` prepares one record at a time ({error}); the net is written as with --raw")
    return deployed(program, net, tensors), False


def _name_classes(model: ModelProto, outcome: Outcome, names: Mapping[str, Sequence[str]]) -> None:
    """Writes into the manifest which output scores classes, and their names (`names`, by the field of the class), or
    numbers where the data has no names."""
    from dlc.compiler.manifest import attach, read

    scores = next((each for each in model.graph.output if each.name == outcome.output), None)
    if scores is None:
        return
    numbers = [str(number) for number in range(scores.type.tensor_type.shape.dim[-1].dim_value)]
    manifest = read(model)
    classes = {**manifest.extensions, CLASSES: {outcome.output: names.get(outcome.target or "") or numbers}}
    attach(model, replace(manifest, extensions=classes))


def _checked(model: ModelProto) -> bytes:
    """The model's bytes, accepted by onnx and by ONNX Runtime: a file that does not run must not be written."""
    import onnx

    from dlc.compiler.emit import serialized

    content = serialized(model)
    onnx.checker.check_model(content, full_check=True)
    open_session(content, threads=1, spinning=False)
    return content


def _type(value: Any) -> str:
    from dlc.compiler.types import from_onnx_number

    tensor = value.type.tensor_type
    dims = (str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    return f"{from_onnx_number(tensor.elem_type)}[{', '.join(dims)}]"
