"""How many weights the nets of the literature have, what they are called, and which of them are shared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from products_of import example, spec, widened

from dlc.compiler.evaluate import evaluate
from dlc.compiler.passes import TRAINING, run
from dlc.compiler.program import Program, Unit
from dlc.compiler.types import Type


def count(types: Iterable[Type]) -> int:
    return sum(math.prod(type.static_shape()) for type in types)


def shapes(unit: Unit) -> dict[str, tuple[int, ...]]:
    return {address: type.static_shape() for address, type in unit.weights.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logistic", 7),
        ("lenet", 61_706),  # LeCun et al., 1998, with full connections between the second and third layer
        ("mlp", 335_114),  # 785 * 256 + 2 * 257 * 256 + 2,570
        ("nin", 966_986),  # Lin et al., 2013
        ("alexnet", 60_965_224),  # Krizhevsky et al., 2012, two groups; Caffe's bvlc_alexnet
        ("vgg16", 138_357_544),  # Simonyan & Zisserman, 2014, configuration D; torchvision's vgg16
    ],
)
def test_nets_have_the_published_number_of_weights(name: str, expected: int) -> None:
    unit = example(name).net(name)
    assert count(unit.weights.values()) == expected
    assert list(unit.weights) == [a for a, (_, role) in unit.carried.items() if role == "parameter"]


def test_no_memory_is_taken_for_weights() -> None:
    """A net of 10^12 weights is only described: nothing of their size is made."""
    text = "net wide {\n  input x: f32[B, 1000000]\n  return x -> Linear(1000000)\n}\n"
    unit = Program.of_text(text).net("wide")
    assert count(unit.weights.values()) == 10**12 + 10**6
    sizes = [v.nbytes for n in unit.graph.nodes for v in n.attributes.values() if isinstance(v, np.ndarray)]
    assert sum(sizes) < 1000


@pytest.mark.parametrize(
    ("name", "address", "shape"),
    [
        ("logistic", "logistic.w", (6,)),
        ("logistic", "logistic.b", ()),
        ("lenet", "lenet.conv.weight", (6, 1, 5, 5)),
        ("lenet", "lenet.conv3.bias", (120,)),
        ("lenet", "lenet.linear.weight", (120, 84)),
        ("lenet", "lenet.linear2.bias", (10,)),
        ("mlp", "mlp.hidden[0].linear.weight", (784, 256)),
        ("mlp", "mlp.hidden[1].linear.bias", (256,)),
        ("mlp", "mlp.wide.w", (256, 256)),
        ("mlp", "mlp.head.weight", (256, 10)),
        ("vgg16", "vgg16.features.for[0].repeat[0].conv.weight", (64, 3, 3, 3)),
        ("vgg16", "vgg16.features.for[4].repeat[2].conv.bias", (512,)),
        ("vgg16", "vgg16.repeat[1].linear.weight", (4096, 4096)),
        ("vgg16", "vgg16.linear.bias", (1000,)),
        ("alexnet", "alexnet.conv2.weight", (256, 48, 5, 5)),
        ("alexnet", "alexnet.fc6.linear.weight", (9216, 4096)),
        ("alexnet", "alexnet.fc8.bias", (1000,)),
        ("nin", "nin.mlp_conv.conv.weight", (192, 3, 5, 5)),
        ("nin", "nin.mlp_conv3.conv3.bias", (10,)),
    ],
)
def test_weights_are_called_by_where_they_stand(name: str, address: str, shape: tuple[int, ...]) -> None:
    assert shapes(example(name).net(name))[address] == shape


def test_states_of_the_optimizer_are_called_after_run_and_weight() -> None:
    program = spec("lenet")
    weights = list(program.net("lenet").weights)
    carried = program.step("lenet").carried
    averages = [f"lenet.optimizer.{weight}.{state}" for weight in weights for state in "mv"]
    assert sorted(carried) == sorted([*weights, *averages, "lenet.optimizer.t"])
    assert {role for address, (_, role) in carried.items() if ".optimizer." in address} == {"optimizer"}
    assert all(output == f"{address}:next" for address, (output, _) in carried.items())
    assert [a for a in spec("mlp").step("mlp").carried if ".optimizer." in a] == [
        f"mlp.optimizer.{weight}.v" for weight in spec("mlp").net("mlp").weights
    ]
    assert not [a for a in spec("logistic").step("logistic").carried if ".optimizer." in a]


def test_a_run_s_own_name_is_in_the_addresses_of_its_states() -> None:
    text = PAIRS + "train embed on pairs as siamese { loss = mean(apart(left, right))  optimizer = Momentum(lr=1) }\n"
    unit = Program.of_text(text).step("siamese")
    assert list(unit.weights) == ["embed.linear.weight", "embed.linear.bias"]
    assert [a for a in unit.carried if "optimizer" in a] == [f"siamese.optimizer.{a}.v" for a in unit.weights]


PAIRS = """
data pairs {
  train = npz("pairs.npz")
  left: f32[8]  = raw.left
  right: f32[8] = raw.right
}
net embed {
  input x: f32[B, 8]
  code = x -> Linear(4) -> tanh
  return code
}
fn apart(a, b) = sum(square(embed(a) - embed(b)), axis=-1)
net siamese_net {
  input a: f32[B, 8], b: f32[B, 8]
  distance = apart(a, b)
  return distance
}
"""


def test_a_net_applied_twice_shares_its_weights() -> None:
    program = Program.of_text(PAIRS)
    unit = program.net("siamese_net")
    assert shapes(unit) == {"embed.linear.weight": (8, 4), "embed.linear.bias": (4,)}
    rng = np.random.default_rng(0)
    a, b, w = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 8), (3, 8), (8, 4)))
    bias = np.arange(4, dtype=np.float32) / 10
    feeds = {"a": a, "b": b, "embed.linear.weight": w, "embed.linear.bias": bias}
    expected = np.square(np.tanh(a @ w + bias) - np.tanh(b @ w + bias)).sum(-1)
    np.testing.assert_allclose(evaluate(unit.graph, feeds)["distance"], expected, rtol=1e-5)


def test_shared_weights_learn_from_every_use() -> None:
    text = PAIRS + "train embed on pairs {\n  loss = mean(apart(left, right))\n  optimizer = SGD(lr=1)\n}\n"
    graph = run(Program.of_text(text).gradients("embed", working="f64").graph, TRAINING, after="differentiate")
    rng = np.random.default_rng(1)
    feeds = widened({name: rng.normal(size=shape).astype(np.float32) for name, shape in (
        ("left", (3, 8)), ("right", (3, 8)), ("embed.linear.weight", (8, 4)), ("embed.linear.bias", (4,)),
    )})  # fmt: skip
    gradients = evaluate(graph, feeds)
    for address in ("embed.linear.weight", "embed.linear.bias"):
        direction, eps = np.asarray(rng.normal(size=feeds[address].shape)), 1e-6
        up, down = (evaluate(graph, {**feeds, address: feeds[address] + s * eps * direction})["loss"] for s in (1, -1))
        slope = np.vdot(gradients[f"{address}:grad"], direction)
        assert slope == pytest.approx(float(up - down) / (2 * eps), rel=1e-6)


def test_an_instance_is_shared_and_two_occurrences_are_not() -> None:
    program = Program.of_text(
        """
net shared {
  input a: f32[B, 8], b: f32[B, 8]
  tower = Linear(4)
  x = tower(a)
  y = b -> tower
  return x + y
}
net apart {
  input a: f32[B, 8], b: f32[B, 8]
  return (a -> Linear(4)) + (b -> Linear(4))
}
block Once(units) {
  input x
  f = Linear(units)
  return f(f(x))
}
net turns {
  input a: f32[B, 8]
  return a -> repeat 2 { Once(8) } -> Once(8) as last
}
"""
    )
    linear = {"weight": (8, 4), "bias": (4,)}
    assert shapes(program.net("shared")) == {f"shared.tower.{part}": shape for part, shape in linear.items()}
    assert shapes(program.net("apart")) == {
        f"apart.{name}.{part}": shape for name in ("linear", "linear2") for part, shape in linear.items()
    }
    assert shapes(program.net("turns")) == {
        f"turns.{place}.f.{part}": shape
        for place in ("repeat[0].once", "repeat[1].once", "last")
        for part, shape in {"weight": (8, 8), "bias": (8,)}.items()
    }


def test_what_another_file_declares_keeps_its_addresses(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "tower.net").write_text(
        "let width = 6\n"
        "block Tower(depth) = repeat depth { Linear(width) -> relu }\n"
        "net encoder {\n  input x: f32[B, 8]\n  return x -> Tower(2) as tower\n}\n"
    )
    (tmp_path / "main.net").write_text(
        'use Tower, encoder from "parts/tower.net"\n'
        "net pair {\n  input a: f32[B, 8]\n  return (a -> Tower(1) -> Linear(6)) + encoder(a)\n}\n"
    )
    unit = Program.open(tmp_path / "main.net").net("pair")
    assert shapes(unit) == {
        "pair.tower.repeat[0].linear.weight": (8, 6),
        "pair.tower.repeat[0].linear.bias": (6,),
        "pair.linear.weight": (6, 6),
        "pair.linear.bias": (6,),
        "encoder.tower.repeat[0].linear.weight": (8, 6),
        "encoder.tower.repeat[0].linear.bias": (6,),
        "encoder.tower.repeat[1].linear.weight": (6, 6),
        "encoder.tower.repeat[1].linear.bias": (6,),
    }
    assert list(Program.open(tmp_path / "main.net").nets) == ["pair"]
