"""Which operators random graphs are made of: those that the families' recipes name, less the ones listed here."""

from __future__ import annotations

import recipes_choices
import recipes_elementwise
import recipes_indexing
import recipes_movement
import recipes_pictures
import recipes_products
import recipes_sequences
from graph_maker import RECIPES

FAMILIES = (
    recipes_choices, recipes_elementwise, recipes_indexing, recipes_movement, recipes_pictures, recipes_products,
    recipes_sequences,
)  # fmt: skip
# Operators that no random graph holds, and why. All others of the registry are in the first graphs.
_RANDOM = "it draws numbers: no two runs give the same"
_BODY = "it holds bodies, which the recipes do not make"
_QUANTIZED = "nothing flows through it, and what it gives is a rounding of what MatMul and Conv give"
UNCOMPOSED: dict[str, str] = {
    **dict.fromkeys(("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"), _RANDOM),
    **dict.fromkeys(("RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(("If", "Loop", "Scan"), _BODY),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), _QUANTIZED),
    "BitCast": "the bits of a float mean nothing to arithmetic",
    "MelWeightMatrix": "a table of constants, that is made of none but constants",
    "NonMaxSuppression": "boxes and scores in float32 only, and positions of as many boxes as the data say",
}

__all__ = ["FAMILIES", "RECIPES", "UNCOMPOSED"]
