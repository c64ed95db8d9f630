"""Every function and block of the library is compared with a peer: in a table of cases, or by a test named here.

The functions of `data` sections have their tests in `tests/runtime/data`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_cases import value

from dlc.compiler.elaborate.entities import Builtin
from dlc.compiler.elaborate.library import BUILTINS
from dlc.compiler.program import library
from dlc.dsl.ast import Block, Fn

TESTS = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 4, 6)), RNG.normal(size=(3, 4, 6))
IMAGE = RNG.normal(size=(2, 4, 6, 8))
PLACE = RNG.integers(0, 3, (2, 5))
erf = np.vectorize(math.erf)
WINDOWS = IMAGE.reshape(2, 4, 3, 2, 4, 2)


def responses(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    """Krizhevsky et al. (2012), section 3.3, with PyTorch's division of alpha."""
    near = [range(max(0, c - size // 2), min(x.shape[1], c + size // 2 + 1)) for c in range(x.shape[1])]
    squares = np.stack([np.square(x[:, each]).sum(1) for each in near], 1)
    return x / (k + alpha / size * squares) ** beta


VALUES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "abs": ("abs(x)", {"x": X}, np.abs(X)),
    "square": ("square(x)", {"x": X}, X * X),
    "sqrt": ("sqrt(x)", {"x": X * X}, np.abs(X)),
    "log": ("log(x)", {"x": X * X}, np.log(X * X)),
    "sin": ("sin(x)", {"x": X}, np.sin(X)),
    "cos": ("cos(x)", {"x": X}, np.cos(X)),
    "erf": ("erf(x)", {"x": X}, erf(X)),
    "floor": ("floor(3 * x)", {"x": X}, np.floor(3 * X)),
    "relu": ("relu(x)", {"x": X}, np.maximum(X, 0)),
    "leaky_relu": ("leaky_relu(x, slope=0.25)", {"x": X}, np.where(X > 0, X, X / 4)),
    "elu": ("elu(x, alpha=0.5)", {"x": X}, np.where(X > 0, X, np.expm1(X) / 2)),
    "selu": ("selu(x)", {"x": X}, 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X))),
    "gelu": ("gelu(x)", {"x": X}, X / 2 * (1 + erf(X / math.sqrt(2)))),
    "sigmoid": ("sigmoid(x)", {"x": X}, 1 / (1 + np.exp(-X))),
    "tanh": ("tanh(x)", {"x": X}, np.tanh(X)),
    "softplus": ("softplus(x)", {"x": X}, np.log1p(np.exp(X))),
    "softsign": ("softsign(x)", {"x": X}, X / (1 + np.abs(X))),
    "mish": ("mish(x)", {"x": X}, X * np.tanh(np.log1p(np.exp(X)))),
    "minimum": ("minimum(x, y)", {"x": X, "y": Y}, np.minimum(X, Y)),
    "clip": ("clip(x, -0.5, 1)", {"x": X}, np.clip(X, -0.5, 1)),
    "where": ("where(x > y, x, 2 * y)", {"x": X, "y": Y}, np.where(X > Y, X, 2 * Y)),
    "cast": ("cast(3 * x, \"i64\")", {"x": X}, np.trunc(3 * X).astype(np.int64)),
    "identity": ("identity(x)", {"x": X}, X),
    "zeros_like": ("zeros_like(x)", {"x": X}, np.zeros(X.shape)),
    "full": ("x + full([4, 6], 2.5)", {"x": X}, X + 2.5),
    "flatten": ("flatten(x)", {"x": X}, X.reshape(3, 24)),
    "reshape": ("reshape(x, [B, 3, 8])", {"x": X}, X.reshape(3, 3, 8)),
    "squeeze": ("squeeze(x[:, 0:1], 1)", {"x": X}, X[:, 0]),
    "transpose": ("transpose(x, [0, 2, 1])", {"x": X}, X.transpose(0, 2, 1)),
    "concat": ("concat([x, y], axis=1)", {"x": X, "y": Y}, np.concatenate([X, Y], 1)),
    "split": ("split(x, 3)[1]", {"x": X}, X[:, :, 2:4]),
    "gather": ("gather(x, i)", {"x": X, "i": PLACE}, X[PLACE]),
    "max_pool": ("max_pool(x, 2)", {"x": IMAGE}, WINDOWS.max((3, 5))),
    "avg_pool": ("avg_pool(x, 2)", {"x": IMAGE}, WINDOWS.mean((3, 5))),
    "global_avg_pool": ("global_avg_pool(x)", {"x": IMAGE}, IMAGE.mean((2, 3))),
    "lrn": ("lrn(x, 3, alpha=0.5, beta=0.75, k=2)", {"x": IMAGE}, responses(IMAGE, 3, 0.5, 0.75, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    call, feeds, expected = VALUES[name]
    found = value(call, **feeds)
    assert found.shape == expected.shape
    # The constants of `selu` are attributes, and those are float32.
    np.testing.assert_allclose(found, expected, rtol=1e-6 if name == "selu" else 1e-12, atol=1e-12)


TABLES = {
    "test_every_function.py": {"VALUES"}, "test_functions.py": {"VALUES", "TORCH"}, "test_flow.py": {"ARROWS"},
    "test_losses.py": {"CASES"}, "test_layers.py": {"CASES"}, "test_schedules.py": {"CASES"},
    "test_optimizers_library.py": {"CASES"},
}  # fmt: skip
"""The tables of this folder whose cases have a peer; the strings in their values are calls."""

ELSEWHERE = {
    "Embedding": "library/test_layers.py::test_embedding",
    "accuracy": "library/test_losses.py::test_accuracy_counts_the_rows_of_a_mask",
    "center_crop": "runtime/data/test_data_prepare_pictures.py::test_resize_to_a_side_and_crop_is_torchvision_s",
    "color_jitter": "library/test_augment_functions.py::test_brightness_and_contrast_have_a_factor_each",
    "detach": "library/test_train_sections.py::test_nothing_passes_a_detach",
    "dropout": "end_to_end/test_spec_gradients.py::test_dropout_keeps_its_share_and_scales_it",
    "grayscale": "runtime/data/test_data_prepare_pictures.py::test_crops_and_kinds_of_pictures",
    "highest": "runtime/test_patience.py::test_directions",
    "l1": "library/test_train_sections.py::test_penalties_take_rank_two_and_more_of_a_part_and_any_one_weight",
    "l2": "library/test_train_sections.py::test_penalties_take_rank_two_and_more_of_a_part_and_any_one_weight",
    "lowest": "runtime/test_patience.py::test_directions",
    "normal": "library/test_initializers.py::test_uniform_normal_and_numbers",
    "patience": "runtime/test_patience.py::test_directions",
    "plateau": "runtime/test_plateau.py::test_it_falls_when_pytorchs_does",
    "random_choice": "library/test_graphs_and_files.py::test_random_choice_draws_classes_by_their_shares",
    "random_crop": "library/test_augment_functions.py::test_crops_lie_everywhere_and_only_where_they_fit",
    "random_flip": "library/test_augment_functions.py::test_some_pictures_are_mirrored",
    "random_resized_crop": "library/test_augment_functions.py::test_resized_crops_are_parts_resized_as_pytorch_does_it",
    "resize": "runtime/data/test_data_prepare_pictures.py::test_resize_is_bilinear_with_antialias",
    "uniform": "library/test_initializers.py::test_uniform_normal_and_numbers",
}
"""What no table holds: the test that says what it does."""

WITHIN = {
    "convolve": "Conv", "convolve_transposed": "ConvTranspose", "grouped": "GroupNorm", "layer_normalize": "LayerNorm",
    "on_axis": "Bias", "reduced": "mse", "reshape_like": "GroupNorm", "same_shape": "mse",
}  # fmt: skip
"""What the library's own text is made of: a block or function that uses it, and is compared itself."""


def public() -> set[str]:
    """The blocks and functions of the library but for those of `data` sections."""
    built = {n for n, each in BUILTINS.items() if isinstance(each, Builtin) and ".library." in each.call.__module__}
    written = library().main.scope.items()
    return built | {n for n, each in written if isinstance(each, Block | Fn) and "host.net" not in each.span.file}


def compared() -> set[str]:
    """The words in the calls of all tables. The files are read as text: without PyTorch some cannot be imported."""
    return {word for call in _calls() for word in re.findall(r"\w+", call)}


def _calls() -> Iterator[str]:
    for file, names in TABLES.items():
        for statement in ast.parse((TESTS / "library" / file).read_text(encoding="utf-8")).body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(values=cases))
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict(values=cases))
                ) if name in names:
                    for part in (part for case in cases for part in ast.walk(case)):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value


def test_every_function_has_a_peer() -> None:
    missing = public() - compared() - set(ELSEWHERE) - set(WITHIN)
    assert not missing, f"without a case in a table of {sorted(TABLES)}: {sorted(missing)}"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_tested_elsewhere_is_there(name: str) -> None:
    file, _, test = ELSEWHERE[name].partition("::")
    assert name in public()
    assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", WITHIN)
def test_what_the_library_is_made_of_is_used_there(name: str) -> None:
    user = library().main.scope[WITHIN[name]].span
    text = "\n".join(library().sources[user.file].splitlines()[user.line - 1 : user.end_line])
    assert re.search(rf"\b{name}\(", text)
    assert WITHIN[name] in compared()
