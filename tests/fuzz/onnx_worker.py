"""Reads spoilt models in a process of its own, which the test watches:
`python onnx_worker.py FOLDER FIRST LAST spoilt|misled`.

Before each it writes the number of the model, afterwards what came of it: `read`, `refused` or `wrong ...`. A process
that ends without that has crashed, or was ended by its watchdog, at the last number written. Files that are opened
while a model is read are compared with its folder, and with the file outside that links in it lead to.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import small_models
from onnx.backend.test.case.node import collect_testcases
from onnx_attributes import misled
from onnx_mutations import spoilt

SECONDS = 5.0  # of processor time
HUNG = 120.0  # of any time: nothing that ends takes so long, however busy the machine is
MEMORY = 8 << 30  # of addresses
RESIDENT = 1 << 30  # that one model may take beyond what the process had
WAYS: dict[str, Callable[[onnx.ModelProto, np.random.Generator], bytes]] = {"spoilt": spoilt, "misled": misled}
OWN = [os.path.realpath(each) for each in (sys.prefix, sys.base_prefix, Path(__file__).parents[2])]


@lru_cache
def models() -> list[onnx.ModelProto]:
    """Small models of all kinds: onnx's own cases of nodes, most of them with their inputs as initializers too."""
    rng = np.random.default_rng(0)
    found = []
    for case in collect_testcases(None):
        model = case.model
        if case.kind != "node" or model is None or model.ByteSize() > 20_000:
            continue
        made = onnx.ModelProto()
        made.CopyFrom(model)
        if rng.random() < 0.7 and case.data_sets:
            for info, value in zip(list(made.graph.input), case.data_sets[0][0], strict=False):
                if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and rng.random() < 0.7:
                    made.graph.initializer.append(onnx.numpy_helper.from_array(value, info.name))
        found.append(made)
    return found


def main(folder: Path, first: int, last: int, way: str) -> None:
    from dlc.compiler.emit import EmitError, emit
    from dlc.compiler.importer import BadModel, load
    from dlc.compiler.passes import INFERENCE, run
    from dlc.compiler.registry import IllTyped

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    opened: list[str] = []
    watching = [False]

    def see(event: str, args: tuple[Any, ...]) -> None:
        if watching[0] and event == "open" and isinstance(args[0], str | bytes):
            opened.append(os.fsdecode(args[0]))

    sys.addaudithook(see)
    every, made = models(), list(small_models.models())
    for seed in range(first, last):
        rng = np.random.default_rng(seed)
        path = folder / "model.onnx"
        among = made if seed % 2 and way == "spoilt" else every
        path.write_bytes(WAYS[way](among[int(rng.integers(len(among)))], rng))
        print(seed, end=" ", flush=True)
        opened.clear()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        faulthandler.dump_traceback_later(HUNG, exit=True)
        start = time.process_time()
        watching[0] = True
        try:
            graph = load(path).inlined()
            watching[0] = False
            try:
                emit(run(graph, INFERENCE))
                said = "read"
            except (EmitError, IllTyped):
                said = "read, and not written"
        except BadModel:
            said = "refused"
        except MemoryError:
            said = "wrong: it took more memory than there is"
        except BaseException as error:
            said = f"wrong: {type(error).__module__}.{type(error).__name__}: {str(error)[:200]!r}"
        watching[0] = False
        faulthandler.cancel_dump_traceback_later()
        outside = [each for each in opened if not _inside(each, folder)]
        if outside:
            said = f"wrong: it opened {outside[0]}"
        if time.process_time() - start > SECONDS:
            said = f"wrong: it took {time.process_time() - start:.1f} s"
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
        if taken > RESIDENT:
            said = f"wrong: it took {taken >> 20} MB"
        print(said, flush=True)


def _inside(path: str, folder: Path) -> bool:
    """In the model's folder, whatever links say; or what Python and the compiler load of their own."""
    real = os.path.realpath(path)
    outside = folder.parent / "outside.bin"
    if os.path.exists(real) and os.path.samefile(real, outside):  # a hard link to it has a name inside
        return False
    return any(f"{real}{os.sep}".startswith(f"{each}{os.sep}") for each in (str(folder), *OWN))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
