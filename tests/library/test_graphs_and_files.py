"""Infer sections, several files, lets, augmentation: sections 3, 5.1, 5.10 and 8 of the language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.products import products
from dlc.compiler.program import Program
from dlc.dsl.diagnostics import Diagnostic, SourceError

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3))


def problem(program: Any) -> Diagnostic:
    with pytest.raises(SourceError) as caught:
        program() if callable(program) else Program.of_text(program).check()
    return caught.value.diagnostics[0]


FACES = """
net embed {
  input x: f32[B, 4]
  code = x -> Linear(3, bias=false) as project -> BatchNorm as norm
  return code
}
net other {
  input x: f32[B, 4]
  return x -> Linear(2)
}
infer verify {
  input left: f32[1, 4], right: f32[1, 4]
  distance = sum(square(embed(left) - embed(right)), axis=-1)
  match = distance < 1.5
  return distance, match
}
infer nearest {
  input word: i64[]
  rows = l2_normalize(embed.project.weight, axis=-1)
  similarity, place = topk(rows @ rows[word], 2)
  return place, similarity
}
"""


def test_an_infer_section_is_another_graph_over_the_same_weights() -> None:
    program = Program.of_text(FACES)
    assert program.check() == ()
    unit = program.inference("verify")
    weights = [f"embed.{each}" for each in ("project.weight", "norm.weight", "norm.bias", "norm.running_mean",
                                            "norm.running_var")]  # fmt: skip
    assert list(unit.carried) == weights and list(unit.batch) == ["left", "right"]
    assert list(unit.graph.outputs) == ["distance", "match"]
    feeds = dict(zip(weights, (W, np.array([1.0, 2, 3]), np.ones(3), np.ones(3), np.full(3, 4.0)), strict=True))
    small = {key: np.float32(each) for key, each in feeds.items()}
    found = evaluate(unit.graph, {**small, "left": np.float32(X[:1]), "right": np.float32(X[1:2])})
    codes = (X @ W - 1) / np.sqrt(4 + 1e-5) * [1, 2, 3] + 1  # running averages, and nothing moves them
    expected = np.square(codes[0] - codes[1]).sum()
    np.testing.assert_allclose(found["distance"], [expected], rtol=1e-5)
    assert found["match"].tolist() == [expected < 1.5]
    assert {"embed.onnx", "other.onnx", "verify.onnx", "nearest.onnx"} == set(products(program))


DRAWN = """
infer sample {
  input logits: f32[B, 3], key: i64[]
  word, key1 = random_choice(logits, key)
  again, key2 = random_choice(logits, key1)
  return word, key1, again
}
"""


def test_random_choice_draws_classes_by_their_shares() -> None:
    program = Program.of_text(DRAWN)
    assert program.check() == ()
    graph = program.inference("sample").graph
    shares = np.array([0.6, 0.3, 0.1])
    logits = np.broadcast_to(np.float32(np.log(shares)), (20000, 3))
    drawn = evaluate(graph, {"logits": logits, "key": np.int64(3)})
    for name in ("word", "again"):
        assert drawn[name].dtype == np.int64 and drawn[name].shape == (20000,)
        np.testing.assert_allclose(np.bincount(drawn[name], minlength=3) / 20000, shares, atol=0.015)
    together = np.zeros((3, 3))
    np.add.at(together, (drawn["word"], drawn["again"]), 1 / 20000)
    np.testing.assert_allclose(together, np.outer(shares, shares), atol=0.015)  # the two are independent
    same, other = (evaluate(graph, {"logits": logits, "key": np.int64(key)}) for key in (3, 4))
    assert (same["word"] == drawn["word"]).all() and (other["word"] != drawn["word"]).any()
    assert other["key1"] != drawn["key1"]


def test_random_choice_draws_the_same_in_onnx_runtime() -> None:
    program = Program.of_text(DRAWN)
    logits = np.float32(RNG.normal(size=(1000, 3)))
    logits[0] = [-np.inf, 0, -np.inf]
    feeds = {"logits": logits, "key": np.array(11)}
    session = onnxruntime.InferenceSession(products(program)["sample.onnx"].SerializeToString())
    found = dict(zip(("word", "key1", "again"), session.run(["word", "key1", "again"], feeds), strict=True))
    for name, array in evaluate(program.inference("sample").graph, feeds).items():
        np.testing.assert_array_equal(found[name], array)
    assert found["word"][0] == 1


@pytest.mark.parametrize(("call", "code"), [
    ("random_choice(x[0, 0], k)", "E0301"), ("random_choice(x, x)", "E0302"), ("random_choice(x, 1)", "E0302"),
    ("random_choice(x, stack([k, k]))", "E0301"),
])  # fmt: skip
def test_mistakes_with_random_choice(call: str, code: str) -> None:
    text = f"infer s {{\n  input x: f32[2, 3], k: i64[]\n  word, k1 = {call}\n  return word, k1\n}}\n"
    assert problem(text).code == code


def test_an_infer_section_reads_parameters_and_records_no_more_than_it_needs() -> None:
    unit = Program.of_text(FACES).inference("nearest")
    assert list(unit.carried) == ["embed.project.weight"]
    found = evaluate(unit.graph, {"embed.project.weight": np.float32(W), "word": np.int64(2)})
    rows = W / np.linalg.norm(W, axis=1, keepdims=True)
    order = np.argsort(-(rows @ rows[2]))[:2]
    assert found["place"].tolist() == order.tolist() and found["place"][0] == 2
    np.testing.assert_allclose(found["similarity"], (rows @ rows[2])[order], rtol=1e-5)


def test_an_infer_section_makes_no_weights_of_nets_that_are_not_there() -> None:
    assert problem(FACES.replace("embed(left)", "embde(left)")).code == "E0201"
    assert problem(FACES.replace("embed(left) -", "embed(left, right) -")).code == "E0205"


PARTS = """
let width = 3
let unused = 5 in choice(5, 6)
fn half(x) = x / 2
block Tower(depth) = repeat depth { Linear(width, bias=false) -> tanh }
net shared {
  input x: f32[B, 4]
  return x -> Tower(1)
}
data d {
  train = npz("d.npz")
  x: f32[4] = raw.x
  y: f32[3] = raw.y
}
train shared on d {
  loss = mse(shared(x), y)
  optimizer = SGD(lr=1)
  batch = 2
  epochs = 1
}
"""
MAIN = """
use USED from "parts/tower.net"
net it {
  input x: f32[B, 4]
  out = half(x) -> Tower(1) as tower
  return out + shared(x)
}
train it on d {
  loss = mse(out, y) + mean(square(shared(x)))
  optimizer = SGD(lr=1)
  batch = 2
  epochs = 1
}
"""


def opened(folder: Path, used: str, main: str = MAIN, parts: str = PARTS, **lets: str) -> Program:
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "tower.net").write_text(parts)
    (folder / "main.net").write_text(main.replace("USED", used))
    return Program.open(folder / "main.net", lets)


def test_names_of_another_file_but_never_its_runs(tmp_path: Path) -> None:
    program = opened(tmp_path, "half, Tower, shared, d")
    assert program.check() == ()
    assert list(program.runs) == ["it"] and list(program.nets) == ["it"] and list(program.datas) == ["d"]
    assert list(program.step("it").weights) == [
        "it.tower.repeat[0].linear.weight", "shared.tower.repeat[0].linear.weight",
    ]  # fmt: skip


@pytest.mark.parametrize(("used", "code"), [
    ("half, Tower, shared", "E0201"), ("half, Towre, shared, d", "E0701"), ("half, Tower, shared, d, d", "E0202"),
])  # fmt: skip
def test_what_is_not_brought_is_not_there(tmp_path: Path, used: str, code: str) -> None:
    assert problem(lambda: opened(tmp_path, used).check()).code == code


def test_lets_of_the_named_file_alone_are_set(tmp_path: Path) -> None:
    main = MAIN.replace("net it {", "let depth = 1 in range(1, 4)\nnet it {").replace("Tower(1)", "Tower(depth)")
    program = opened(tmp_path, "half, Tower, shared, d", main, depth="2")
    assert len(program.net("it").weights) == 3 and program.lets == {"depth": 2}
    with pytest.raises(SourceError, match="width"):
        opened(tmp_path, "half, Tower, shared, d", main, width="4").check()
    for wrong in ("many", "1.5", '"2"'):
        with pytest.raises(SourceError):
            opened(tmp_path, "half, Tower, shared, d", main, depth=wrong).check()


def test_the_order_of_declarations_does_not_matter() -> None:
    parts = FACES.strip().split("\n}\n")
    parts = [part + "\n}" if not part.endswith("}") else part for part in parts]
    first, second = Program.of_text(FACES), Program.of_text("\n".join(reversed(parts)))
    assert second.check() == ()
    for name in ("verify", "nearest"):
        assert list(first.inference(name).carried) == list(second.inference(name).carried)


AUGMENTED = """
data d {
  train = npz("d.npz")
  image: f32[1, 4, 4] = raw.image
  other: f32[1, 4, 4] = raw.other
  target: f32[1, 4, 4] = raw.target
  augment {
    image = image -> random_flip -> random_crop(4, pad=1)
    other = other -> random_flip -> random_crop(4, pad=1)
  }
}
net it {
  input image: f32[B, 1, 4, 4], other: f32[B, 1, 4, 4]
  param w: f32[4] = ones
  out = (image - other) * w
  return out
}
train it on d {
  loss = mse(out, target)
  metrics { got = mean(out) }
  optimizer = SGD(lr=1)
  batch = 8
  epochs = 1
}
"""


def drawn(seed: int, step: int, rows: int = 64) -> Any:
    """`image - other` of a step's batch, all rows the same picture and `other` too: what augmentation made of them."""
    graph = run(Program.of_text(AUGMENTED).gradients("it", working="f64").graph, TRAINING, after="differentiate")
    picture = np.arange(1.0, 17).reshape(1, 4, 4)
    feeds = {
        "image": np.repeat(picture[None], rows, 0), "other": np.repeat(picture[None], rows, 0),
        "target": np.zeros((rows, 1, 4, 4)), "it.w": np.ones(4), "seed": np.int64(seed), "step": np.int64(step),
    }  # fmt: skip
    found = evaluate(graph, {name: feeds[name] for name in graph.input_names})
    return found["loss"], found["it.w:grad"]


def test_augmentation_is_a_function_of_seed_step_site_and_row() -> None:
    first = drawn(1, 0)
    again, step, seed = drawn(1, 0), drawn(1, 1), drawn(2, 0)
    np.testing.assert_array_equal(first[0], again[0])
    assert len({float(each[0]) for each in (first, step, seed)}) == 3
    # Two sites draw apart: otherwise the equal pictures would stay equal, and their difference 0.
    assert first[0] > 1
    # And so do rows: one row alone has another loss than many together.
    assert len({float(drawn(1, 0, rows)[0]) for rows in (1, 2, 3)}) == 3


def test_evaluation_sees_examples_as_they_are() -> None:
    unit, _ = Program.of_text(AUGMENTED).evaluation("it")
    picture = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    feeds = {"image": picture, "other": picture, "target": 0 * picture, "it.w": np.ones(4, np.float32)}
    assert set(unit.graph.input_names) <= set(feeds)
    found = evaluate(unit.graph, {name: feeds[name] for name in unit.graph.input_names})
    totals = [float(each) for name, each in found.items() if name.startswith("total")]
    assert totals == [0.0] * len(totals) and totals


def test_a_wrong_augmentation() -> None:
    misspelt = problem(AUGMENTED.replace("  augment {\n    image =", "  augment {\n    imgae ="))
    assert (misspelt.code, misspelt.primary.text) == ("E0207", "did you mean `image`?")
    steps = "half = image -> random_flip\n    image = half -> random_crop(4, pad=1)"
    assert (
        Program.of_text(AUGMENTED.replace("image = image -> random_flip -> random_crop(4, pad=1)", steps)).check() == ()
    )
    assert problem(AUGMENTED.replace("pad=1)\n    other", "pad=1) -> max_pool(2)\n    other")).code == "E0602"
