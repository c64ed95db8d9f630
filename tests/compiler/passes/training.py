"""Small training graphs as elaboration makes them: a net, its loss, and an optimizer for each weight."""

from __future__ import annotations

from collections.abc import Callable

from dlc.compiler.build import Builder, current, ints, op, private
from dlc.compiler.graph import Graph, Value
from dlc.compiler.types import Type, symbol

B = symbol("B")
Outputs = dict[str, Value]
Optimizer = Callable[[str, Value, Value], Outputs]


def given(name: str, type: Type) -> Value:
    """The input of that name, made where it is first asked for."""
    builder = current()
    return next((value for value in builder.inputs if builder.names[value] == name), None) or builder.input(name, type)


def rate(number: float | None) -> Value | float:
    return given("lr", Type("f32", ())) if number is None else number


def sgd(lr: float | None = 0.1, decay: float = 0.0) -> Optimizer:
    def step(name: str, w: Value, g: Value) -> Outputs:
        return {f"{name}:next": w - rate(lr) * (g + decay * w if decay else g)}

    return step


def momentum(lr: float | None = 0.1, decay: float = 0.0, nesterov: bool = False) -> Optimizer:
    def step(name: str, w: Value, g: Value) -> Outputs:
        v = given(f"{name}.v", w.type)
        d = g + decay * w if decay else g
        v1 = 0.9 * v + d
        return {f"{name}:next": w - rate(lr) * (d + 0.9 * v1 if nesterov else v1), f"{name}.v:next": v1}

    return step


def adam(lr: float | None = 0.001, decay: float = 0.0) -> Optimizer:
    def step(name: str, w: Value, g: Value) -> Outputs:
        m, v, t = given(f"{name}.m", w.type), given(f"{name}.v", w.type), given("t", Type("f32", ()))
        m1, v1, t1 = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * (g * g), t + 1.0
        b1, b2 = current().constant(0.9), current().constant(0.999)
        move = (m1 / (1.0 - b1**t1)) / (op.Sqrt(v1 / (1.0 - b2**t1)) + 1e-8)
        new = w - rate(lr) * (move + decay * w if decay else move)
        return {f"{name}:next": new, f"{name}.m:next": m1, f"{name}.v:next": v1, "t:next": t1}

    return step


def logistic(optimizer: Optimizer) -> Graph:
    """Logistic regression on six features, with an L2 term."""
    with Builder() as builder:
        x, y = builder.input("features", Type("f32", (B, 6))), builder.input("target", Type("f32", (B,)))
        w, b = builder.input("w", Type("f32", (6,))), builder.input("b", Type("f32", ()))
        logit = x @ w + b
        loss = op.ReduceMean(op.Softplus(logit) - logit * y, keepdims=0)
        loss = loss + 0.001 * op.ReduceSumSquare(w, keepdims=0)
        return _step(builder, loss, {"w": w, "b": b}, optimizer)


def linear(optimizer: Optimizer) -> Graph:
    """Least squares with a matrix of one column, whose predictions are squeezed to a vector."""
    with Builder() as builder:
        x, y = builder.input("features", Type("f32", (B, 3))), builder.input("target", Type("f32", (B,)))
        w, b = builder.input("w", Type("f32", (3, 1))), builder.input("b", Type("f32", (1,)))
        error = op.Squeeze(x @ w + b, ints(1)) - y
        return _step(builder, op.ReduceMean(error * error, keepdims=0), {"w": w, "b": b}, optimizer)


def mlp(optimizer: Optimizer, l2: float = 0.0) -> Graph:
    """8-6-3 with a Relu and cross entropy."""
    with Builder() as builder:
        x, label = builder.input("image", Type("f32", (B, 8))), builder.input("label", Type("i64", (B,)))
        weights: dict[str, Value] = {}
        h = x
        for layer, (rows, columns) in enumerate(((8, 6), (6, 3))):
            w = weights[f"w{layer}"] = builder.input(f"w{layer}", Type("f32", (rows, columns)))
            b = weights[f"b{layer}"] = builder.input(f"b{layer}", Type("f32", (columns,)))
            h = op.Relu(h @ w + b) if layer == 0 else h @ w + b
        logs = op.LogSoftmax(h, axis=1)
        loss = -op.ReduceMean(op.GatherElements(logs, op.Unsqueeze(label, ints(-1)), axis=1), keepdims=0)
        if l2:
            loss = loss + l2 * op.ReduceSumSquare(weights["w0"], keepdims=0)
        return _step(builder, loss, weights, optimizer)


def _step(builder: Builder, loss: Value, weights: dict[str, Value], optimizer: Optimizer) -> Graph:
    gradients = {name: private.Gradient(loss, w) for name, w in weights.items()}
    outputs: Outputs = {}
    for name, w in weights.items():
        outputs.update(optimizer(name, w, gradients[name]))
    outputs.update(loss=loss, finite=private.Finite(loss, *gradients.values()))
    return builder.graph("step", outputs, sizes={"B": 32})


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": sgd(),
    "sgd, run-time rate": sgd(None),
    "sgd, decay": sgd(decay=0.01),
    "sgd, run-time rate, decay": sgd(None, 0.01),
    "momentum": momentum(),
    "momentum, run-time rate, decay": momentum(None, 0.01),
    "nesterov": momentum(nesterov=True),
    "nesterov, run-time rate, decay": momentum(None, 0.01, nesterov=True),
    "adam": adam(),
    "adamw, run-time rate": adam(None, 0.01),
}
NETS: dict[str, Callable[[Optimizer], Graph]] = {
    "logistic": logistic,
    "linear": linear,
    "mlp": mlp,
    "mlp, l2": lambda optimizer: mlp(optimizer, 0.01),
}
