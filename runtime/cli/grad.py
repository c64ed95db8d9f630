"""`dlc grad`: the gradient graph of an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlc.runtime.atomic import write_atomically
from dlc.runtime.cli.terminal import Terminal, file_size, plural
from dlc.runtime.errors import InputError, UsageError

if TYPE_CHECKING:
    from dlc.compiler.importer import Imported

ONNX = ".onnx"


def grad(
    model: str, of: str | None, wrt: Sequence[str], output: str, cotangent: bool, second: bool, terminal: Terminal
) -> None:
    """Raises UsageError, InputError and RunError, and BadModel for a model that cannot be read."""
    from dlc.compiler.beside import Beside
    from dlc.compiler.derivative import Underivable, derivative, differentiated
    from dlc.compiler.emit import serialized

    out = Path(output)
    if out.suffix.lower() != ONNX:
        raise UsageError(f"expected the name of an {ONNX} file for -o, found {output}")
    loaded = load(model, [each.strip() for names in (*wrt, of or "") for each in (names, *names.split(","))])
    if out.exists() and out.samefile(model):
        raise UsageError(f"-o {output} would overwrite the model itself", "name another file")
    named = {*loaded.values, *loaded.weights, *loaded.graph.input_names}
    names = [name.strip() for each in wrt for name in ([each] if each in named else each.split(",")) if name.strip()]
    target = of or _only(loaded, model)
    try:
        graph, weights = derivative(loaded, target, names, cotangent=cotangent, second=second)
        beside = Beside(f"{out.name}.data")
        made = differentiated(loaded, graph, beside)
    except Underivable as error:
        raise InputError(str(error), _help(loaded, names, model)) from None
    content = serialized(made)
    data = out.with_name(beside.location) if beside else None
    if data is not None:
        write_atomically(data, beside.chunks())
    write_atomically(out, [content])
    terminal.say(f"{out}  {file_size(len(content))}  {plural(len(made.graph.node), 'node')}")
    if data is not None:
        terminal.say(f"{data}  {file_size(data.stat().st_size)}  its tensors; the two files stay together")
    takes = {name: str(graph.input(name).type) for name in graph.input_names}
    gives = {name: str(value.type) for name, value in graph.outputs.items()}
    rows = [
        ("  takes", name, type, "the model's value, unless fed" if name in weights else "")
        for name, type in takes.items()
    ]
    rows += [("  gives", name, type, "") for name, type in gives.items()]
    terminal.table(rows)
    files = {"file": str(out), "data": str(data) if data else None}
    terminal.result({**files, "inputs": takes, "outputs": gives, "weights": weights})


def load(model: str, asked: Sequence[str] = ()) -> Imported:
    """The model in a file, read for gradients by the values called `asked`.

    Raises InputError for what is no such file, and BadModel.
    """
    from dlc.compiler.importer import load

    path = Path(model)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix.lower() == ".net":
        raise InputError(
            f"expected an {ONNX} file, found {path}", f"`dlc compile {path}` writes the training step of a .net file"
        )
    return load(path, asked)


def _help(loaded: Imported, names: Sequence[str], model: str) -> str:
    """What to do about a gradient that does not exist."""
    inputs = {name: str(loaded.graph.input(name).type) for name in loaded.graph.input_names}
    if any(inputs.get(name, "").startswith("u8") for name in names):
        return "`dlc export RUN_FOLDER -o MODEL.onnx --raw` leaves out the preparation and takes floats"
    return f"`dlc show {model} --values` lists the values, and which a gradient reaches"


def _only(model: Imported, file: str) -> str:
    outputs = list(model.graph.outputs)
    if len(outputs) == 1:
        return outputs[0]
    raise UsageError(f"{file} has several outputs: {', '.join(outputs)}", f"name one: --of {outputs[0]}")
