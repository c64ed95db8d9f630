"""`dlc run`: a model on inputs from files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from dlc.runtime.cli.terminal import Terminal, file_size, plain
from dlc.runtime.errors import InputError, UsageError


def run(
    model: str, given: Sequence[str], output: str | None, device: str | None, threads: int | None, terminal: Terminal
) -> None:
    """Raises UsageError, and what `dlc.runtime.predict.run_model` raises."""
    from dlc.runtime.predict import run_model

    path = Path(model)
    if not path.is_file():
        raise InputError(f"expected an ONNX file, found {'the folder' if path.is_dir() else 'nothing at'} {path}")
    if path.suffix.lower() == ".net":
        raise UsageError(f"expected an ONNX file, found {path}", "`dlc compile` and `dlc export` make one")
    out = Path(output) if output is not None else None
    if out is not None and out.suffix.lower() != ".npz":
        raise UsageError(f"expected the name of an .npz file for --output, found {output}")
    found = run_model(path, inputs(given), device=device or "cpu", threads=threads or 0, note=terminal.note)
    terminal.say(found.text)
    if out is not None:
        import numpy as np

        from dlc.runtime.atomic import write_atomically

        buffer = io.BytesIO()
        # `np.savez` takes names as keywords, and would take one called `file` for its own.
        named = {name if name != "file" else "file_": each for name, each in found.outputs.items()}
        np.savez(buffer, **named)  # type: ignore[arg-type]
        write_atomically(out, [buffer.getbuffer()])
        terminal.say(f"{out}  {file_size(len(buffer.getbuffer()))}")
    terminal.result(
        {
            "model": str(path),
            "outputs": {
                name: {"shape": list(each.shape), "dtype": str(each.dtype), "values": plain(each)}
                | ({"classes": list(found.classes[name])} if name in found.classes else {})
                for name, each in found.outputs.items()
            },
        }
    )


def inputs(given: Sequence[str]) -> dict[str, str]:
    """The texts of `--input NAME=TEXT`, by name. Raises UsageError."""
    named: dict[str, str] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name or not text:
            raise UsageError(f"expected --input name=file, found --input {each}", "for example --input image=seven.png")
        if name in named:
            raise UsageError(f"--input gives `{name}` twice")
        named[name] = text
    return named
