"""The loss and gradients of every spec: against PyTorch, against differences of two forward passes, and cut in two."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from products_of import SCALARS, SPECS, Arrays, batch, compiled, part, spec, weights, widened

from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.passes import TRAINING, run

NO_TORCH = "PyTorch is the oracle here; it comes with the extra `peers`"
RATE = float(spec("mlp").let_values()["drop"])


@lru_cache
def exact(name: str, **lets: str) -> Graph:
    """Loss and gradients of a spec in float64, differentiated and not yet lowered."""
    return run(spec(name, **lets).gradients(name, working="f64").graph, TRAINING, after="differentiate")


def decay_of(name: str) -> float:
    return float(spec(name).let_values().get("decay", 0))


def feeds_for(name: str, size: int) -> Arrays:
    return {**SCALARS, **weights(name), **batch(name, size)}


def evaluated(graph: Graph, feeds: Arrays) -> Arrays:
    return evaluate(graph, widened({key: feeds[key] for key in graph.input_names}))


def masks(feeds: Arrays) -> list[Any]:
    """What the two dropouts of the mlp multiply by, from the random bits of its graph: u = (bits + 0.5) / 2^31."""
    graph = exact("mlp")
    bits = {str(i): node.output for i, node in enumerate(n for n in graph.nodes if n.op == "dlc.RandomBits")}
    drawn = evaluated(part(graph, bits), feeds).values()
    return [((each + 0.5) / 2**31 >= RATE) / (1 - RATE) for each in drawn]


@pytest.mark.parametrize("name", SPECS)
def test_gradients_are_those_of_pytorch(name: str) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    import torch
    import torch_nets

    feeds = feeds_for(name, 9)
    net = torch_nets.of(name, feeds, decay_of(name))
    if name == "mlp":
        net.masks = [torch.from_numpy(mask) for mask in masks(feeds)]
    loss, gradients = torch_nets.loss_and_gradients(net, batch(name, 9))

    found = evaluated(exact(name), feeds)
    assert found["loss"] == pytest.approx(loss, rel=1e-12)
    assert {key.removesuffix(":grad") for key in found if key.endswith(":grad")} == set(gradients)
    for address, theirs in gradients.items():
        ours = found[f"{address}:grad"]
        np.testing.assert_allclose(
            ours, torch_nets.same_layout(theirs, ours), rtol=1e-9, atol=1e-13, err_msg=address
        )

    # The file computes in float32: sums of hundreds of products round to about 1e-6 of the largest gradient, and a
    # small gradient is a difference of large ones; so the tolerance is relative to the tensor's largest element.
    written = compiled(name).run(f"{name}.grad", feeds)
    assert written["loss"] == pytest.approx(loss, rel=1e-5)
    for address, theirs in gradients.items():
        ours = written[f"{address}:grad"]
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(
            ours, torch_nets.same_layout(theirs, ours), rtol=1e-4, atol=1e-5 * scale, err_msg=address
        )


def test_without_dropout_the_mlp_is_that_of_pytorch() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    import torch_nets

    feeds = feeds_for("mlp", 5)
    loss, gradients = torch_nets.loss_and_gradients(torch_nets.of("mlp", feeds, decay_of("mlp")), batch("mlp", 5))
    graph = exact("mlp", drop="0.0")
    assert not [node for node in graph.nodes if node.op == "dlc.RandomBits"]
    found = evaluated(graph, feeds)
    assert found["loss"] == pytest.approx(loss, rel=1e-12)
    for address, theirs in gradients.items():
        ours = found[f"{address}:grad"]
        np.testing.assert_allclose(ours, torch_nets.same_layout(theirs, ours), rtol=1e-9, atol=1e-13, err_msg=address)


@pytest.mark.parametrize("name", SPECS)
def test_gradients_are_the_differences_of_two_forward_passes(name: str) -> None:
    graph = exact(name)
    feeds = widened(feeds_for(name, 4))
    gradients = evaluated(graph, feeds)
    forward = part(graph, {"loss": graph.outputs["loss"]})
    rng = np.random.default_rng(5)
    step = 1e-6
    addresses = [key.removesuffix(":grad") for key in graph.outputs if key.endswith(":grad")]
    assert addresses
    for address in addresses:
        direction = np.asarray(rng.normal(size=np.shape(feeds[address])))
        direction /= np.linalg.norm(direction)
        up, down = (
            float(evaluated(forward, {**feeds, address: feeds[address] + sign * step * direction})["loss"])
            for sign in (1, -1)
        )
        slope = float(np.vdot(gradients[f"{address}:grad"], direction))
        # The differences round to about 1e-16 * loss / step = 1e-10, and lose step^2 of the third derivative.
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-8), address


@pytest.mark.parametrize("name", SPECS)
def test_a_step_is_its_gradients_and_their_application(name: str) -> None:
    files = compiled(name)
    feeds = feeds_for(name, 16)
    for step in range(3):  # after the first one, momentum and averages are not zero
        feeds |= {"step": np.int64(step), **batch(name, 16, seed=step)}
        first = files.run(f"{name}.grad", feeds)
        second = files.run(f"{name}.apply", {**feeds, **first})
        whole, feeds = files.step(name, feeds)
        parts = {**first, **second}
        assert whole["finite"] and first["finite"]
        assert set(whole) == {key for key in parts if not key.endswith(":grad")}
        for key, value in whole.items():
            scale = np.abs(value).max(initial=0) if value.dtype == np.float32 else 0
            np.testing.assert_allclose(parts[key], value, rtol=1e-6, atol=1e-6 * scale, err_msg=f"{key}, step {step}")


def test_dropout_keeps_its_share_and_scales_it() -> None:
    first, second = masks(feeds_for("mlp", 64))
    for mask in (first, second):
        assert mask.shape == (64, 256)
        assert set(np.unique(mask)) == {0, 1 / (1 - RATE)}
        deviation = np.sqrt(RATE * (1 - RATE) / mask.size)
        assert abs(np.mean(mask == 0) - RATE) < 4 * deviation
    # Two sites, and two rows of one, agree as often as chance has it.
    agreeing = RATE**2 + (1 - RATE) ** 2
    spread = np.sqrt(agreeing * (1 - agreeing) / first.size)
    assert abs(np.mean(first == second) - agreeing) < 4 * spread
    assert abs(np.mean(first[1:] == first[:-1]) - agreeing) < 4 * spread


def test_dropout_is_a_function_of_seed_and_step() -> None:
    feeds = feeds_for("mlp", 8)
    before = masks(feeds)
    assert all(map(np.array_equal, masks(feeds), before))
    for name in ("seed", "step"):
        after = masks({**feeds, name: np.int64(11)})
        assert not any(map(np.array_equal, after, before))
        assert all(0.4 < np.mean(a == b) < 0.75 for a, b in zip(after, before, strict=True))  # 0.58 by chance
    files = compiled("mlp")
    losses = [float(files.run("mlp.step", {**feeds, "step": np.int64(step)})["loss"]) for step in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_dropout_is_of_training_only() -> None:
    program = spec("mlp")
    for unit in (program.net("mlp"), *program.evaluation("mlp")):
        assert not [node for node in unit.graph.nodes if node.op == "dlc.RandomBits"]
        assert not {"seed", "step"} & set(unit.graph.input_names)
