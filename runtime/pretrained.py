"""Weights of other programs: `load net.part from "vgg16.safetensors"`, and .npz.

**Names.** A weight `net.part.conv[0].weight` is looked for in the file under its whole address, without the net's name
(`part.conv.0.weight`), and without the part's (`conv.0.weight`), in this order; `[0]` and `.0` are the same, and so are
an embedding's `table` and PyTorch's `weight`. Every weight of the part has to be found.

**Layouts.** Kernels of convolutions are [out, in, ...] in PyTorch and here. Of a linear layer PyTorch has [out, in] and
dlc [in, out]: a tensor of rank two called `weight` is transposed where only that fits. Where it is square both fit, and
the file decides: if it was written by dlc, or another weight of it fitted as it was, nothing is transposed; if another
weight had to be transposed, or the metadata say that PyTorch wrote it (`format: pt`), it is.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dlc.dsl.diagnostics import nearest
from dlc.runtime.checkpoint import FORMAT, Array, Signature, load_tensors
from dlc.runtime.errors import InputError

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
CONVERT = (
    'convert it once, where PyTorch is: python -c "import torch; from safetensors.torch import save_file; '
    "save_file(torch.load('{name}', weights_only=True), '{stem}.safetensors')\""
)
MOST_LINES = 12


@dataclass(frozen=True)
class Loaded:
    """`tensors` by address. `transposed` names those that were turned round, `guessed` those whose square shape did not
    tell whether to, `unused` what else the file has."""

    tensors: dict[str, Array]
    transposed: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def load(path: Path, part: str, wanted: Mapping[str, Signature]) -> Loaded:
    """The weights `wanted` (address -> dtype, shape) of the part with that address, from a file.

    Raises InputError for a file that cannot be read or is of another kind, and, saying what was found and what was not,
    if one of them is missing or of a shape that does not fit.
    """
    tensors, metadata = read(path)
    names = _matched(path, part, wanted, tensors)
    ours = FORMAT in metadata
    turned = {a: _turned(a, wanted[a], tensors[name].shape) and not ours for a, name in names.items()}
    straight = [a for a in names if _linear(a, wanted[a]) and tensors[names[a]].shape == wanted[a][1]]
    square = [a for a in straight if wanted[a][1][0] == wanted[a][1][1]]
    as_is = ours or len(straight) > len(square)
    if not as_is and (any(turned.values()) or metadata.get("format") == "pt"):
        turned |= dict.fromkeys(square, True)
    made = {a: tensors[name].T if turned[a] else tensors[name] for a, name in names.items()}
    problems = [
        f"  {a}: expected {_text(*wanted[a])}, found {_text(value.dtype, value.shape)} under {names[a]}"
        for a, value in made.items()
        if value.shape != wanted[a][1] or not _castable(value.dtype, wanted[a][0])
    ]
    if problems:
        fits = len(made) - len(problems)
        raise InputError(f"{path} does not fit `{part}` ({fits:,} of {len(made):,} tensors do):\n" + _listed(problems))
    return Loaded(
        {a: np.ascontiguousarray(value, wanted[a][0]).reshape(wanted[a][1]) for a, value in made.items()},
        [a for a, is_turned in turned.items() if is_turned],
        [] if ours else square,
        sorted(set(tensors) - set(names.values())),
    )


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors of a .safetensors or .npz file, and its metadata. Raises InputError."""
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        help = CONVERT.format(name=path.name, stem=path.stem)
        raise InputError(f"{path}: a pickle can run any program when it is opened, so dlc does not read it", help)
    if suffix == ".onnx":
        raise InputError(f"{path}: an ONNX model is imported, not loaded", f'import trunk from "{path.name}"')
    if path.is_dir():
        help = "the weights of a run lie in its folder, in best.safetensors and last.safetensors"
        raise InputError(f"{path}: expected a .safetensors or .npz file of weights, found a folder", help)
    if suffix not in (".safetensors", ".npz"):
        raise InputError(f"{path}: expected a .safetensors or .npz file of weights, found {suffix or 'no suffix'}")
    if suffix == ".safetensors":
        return load_tensors(path)
    try:
        # From memory: a file that is changed while it is read must not give some of each.
        archive = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path}: expected a .npz file of arrays, found a single array (.npy)")
        return {name: archive[name] for name in archive.files}, {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, NotImplementedError) as error:
        raise InputError(f"{path}: expected a .npz file of arrays, found something else ({error})") from None


def _matched(path: Path, part: str, wanted: Mapping[str, Signature], tensors: Mapping[str, Array]) -> dict[str, str]:
    """The name in the file for each address. Raises InputError if there is none for some."""
    plain: dict[str, str] = {}
    for name in tensors:
        other = plain.setdefault(_plain(name), name)
        if other != name:
            raise InputError(f"{path}: {other} and {name} are the same name for dlc, where `[0]` is `.0`")
    names = {}
    for address in wanted:
        found = next((plain[each] for each in _candidates(address, part) if each in plain), None)
        if found is not None:
            names[address] = found
    missing = [address for address in wanted if address not in names]
    if missing:
        free = [each for each, name in plain.items() if name not in names.values()]
        lines = []
        for address in missing[:MOST_LINES]:
            guess = next((g for g in (nearest(each, free) for each in _candidates(address, part)) if g), None)
            lines.append(f"  {address}{f'  (nearest in the file: {plain[guess]})' if guess else ''}")
        has = ", ".join(sorted(tensors)[:5]) + (f" and {len(tensors) - 5:,} more" if len(tensors) > 5 else "")
        lines += missing[MOST_LINES:]
        raise InputError(
            f"{path}: {len(missing):,} of the {len(wanted):,} weights of `{part}` are not in it:\n{_listed(lines)}"
            f"\nfound: {_listed([f'{a} as {n}' for a, n in names.items()], 3, ', ') or 'none'}",
            f"the file has {has}; `dlc weights rename` gives its tensors other names",
        )
    return names


def _candidates(address: str, part: str) -> Iterator[str]:
    """The names, in plain form, under which a file may have the weight."""
    whole = _plain(address)
    net = _plain(part).partition(".")[0]
    # A part may be one weight; of its name, the last word is left.
    within = whole.removeprefix(f"{_plain(part)}.") if whole != _plain(part) else whole.rpartition(".")[2]
    for name in (whole, whole.removeprefix(f"{net}."), within):
        yield name
        stem, dot, last = name.rpartition(".")
        if last == "table":
            yield f"{stem}{dot}weight"


def _plain(name: str) -> str:
    return name.replace("[", ".").replace("]", "").lstrip(".")


def _linear(address: str, signature: Signature) -> bool:
    return len(signature[1]) == 2 and address.rpartition(".")[2] == "weight"


def _turned(address: str, signature: Signature, shape: tuple[int, ...]) -> bool:
    """Does only the transposed tensor fit?"""
    return _linear(address, signature) and shape != signature[1] and shape == signature[1][::-1]


def _castable(found: np.dtype[np.generic], wanted: np.dtype[np.generic]) -> bool:
    """Any real floating type may become another (bfloat16 is not one of NumPy's own); others have to be equal."""
    floats = [each.name in ("float16", "bfloat16", "float32", "float64") for each in (found, wanted)]
    return all(floats) or found == wanted


def _text(dtype: object, shape: tuple[int, ...]) -> str:
    return f"{dtype}{list(shape)}"


def _listed(lines: list[str], most: int = MOST_LINES, between: str = "\n") -> str:
    more = [f"{'  ' if between != ', ' else ''}and {len(lines) - most:,} more"] if len(lines) > most else []
    return between.join([*lines[:most], *more])


__all__ = ["Loaded", "load", "read"]
