"""The functions of the library that are written in Python: thin names over operators, and the checks.

What can be said in the language itself stands in `dlc/compiler/prelude/*.net`.
"""

from dlc.compiler.elaborate.library import (
    augment,
    elementwise,
    initializers,
    lists,
    losses,
    masks,
    normalization,
    padding,
    patterns,
    pictures,
    plateau,
    positions,
    random,
    reductions,
    selection,
    shape,
    softmax,
    spatial,
    transposed,
)
from dlc.compiler.elaborate.library.functions import BUILTINS, floating, function, tensor_of
from dlc.compiler.elaborate.library.random import seed_input

__all__ = [
    "BUILTINS", "augment", "elementwise", "floating", "function", "initializers", "lists", "losses", "masks",
    "normalization", "padding", "patterns", "pictures", "plateau", "positions", "random", "reductions",
    "seed_input", "selection", "shape", "softmax", "spatial", "tensor_of", "transposed",
]  # fmt: skip
