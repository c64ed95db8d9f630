"""The functions of the library that are written in Python: thin names over operators, with checks that the language asks.

What can be said in the language itself stands in `dlc/compiler/prelude/*.net`.
"""

from dlc.compiler.elaborate.library import elementwise, lists, losses, random, reductions, shape, spatial
from dlc.compiler.elaborate.library.functions import BUILTINS, floating, function, tensor_of
from dlc.compiler.elaborate.library.random import seed_input

__all__ = [
    "BUILTINS", "elementwise", "floating", "function", "lists", "losses", "random", "reductions", "seed_input", "shape",
    "spatial", "tensor_of",
]  # fmt: skip
