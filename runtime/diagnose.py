"""Which tensor was not finite, once a step has said that one was not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dlc.compiler.program import Program
from dlc.runtime.checkpoint import Array
from dlc.runtime.session import open_session

Diagnose = Callable[[Mapping[str, Array]], str | None]
"""Given what the step read (carried values, batch, scalars): a phrase for the first culprit, None if there is none."""


def not_finite(tensors: Mapping[str, Array]) -> list[str]:
    """A phrase for each tensor that holds them: `lenet.linear.bias (3 of 10 values are NaN or infinite)`."""
    found = []
    for name, array in tensors.items():
        if np.issubdtype(array.dtype, np.floating):
            bad = array.size - int(np.count_nonzero(np.isfinite(array)))
            if bad:
                found.append(f"{name} ({bad:,} of {array.size:,} values are NaN or infinite)")
    return found


def first_row(array: Array) -> int:
    """The first index on axis 0 where `array` holds a value that is not finite; 0 if there is none."""
    return int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))


def by_gradients(program: Callable[[], Program], run: str) -> Diagnose:
    """Runs the step's gradients, each as a tensor of its own, on the inputs of the step that failed.

    The graph is compiled only when it is asked: almost no run ever needs it.
    """

    def diagnose(inputs: Mapping[str, Array]) -> str | None:
        from dlc.compiler.emit import serialized
        from dlc.compiler.products import unit_model

        opened = program()
        session = open_session(serialized(unit_model(opened, opened.gradients(run))), spinning=False)
        outputs = [each.name for each in session.get_outputs() if each.name.endswith(":grad")]
        fed = {each.name: inputs[each.name] for each in session.get_inputs()}
        gradients = dict(zip(outputs, session.run(outputs, fed), strict=True))
        # Backwards: the gradient nearest to the loss is the first that went wrong.
        found = not_finite({name.removesuffix(":grad"): gradients[name] for name in reversed(outputs)})
        return f"the gradient of {found[0]}" if found else None

    return diagnose
