# ruff: noqa: E501 -- one program or formula a line
"""Programs that are right by construction: random nets whose shapes are tracked while they are written."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]  # of one example, without the batch
ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "softplus", "gelu", "elu", "leaky_relu", "leaky_relu(0.2)", "softsign", "identity",
    "mish", "selu", "elu(alpha=0.5)", "clip(-3, 3)", "square -> softplus",
)  # fmt: skip
TEMPLATES = """
block Dense(units, rate=0.1, act=true) = Linear(units) -> (tanh if act else identity) -> dropout(rate)

block Residual(width, scale=0.5) {
  input x: f32[..., D]
  y = x -> Linear(width, init=he) -> relu -> Linear(D)
  return x + scale * y
}

block Gate(units: int) {
  input x: f32[B, D]
  param gain: f32[units] = ones
  a, b = x -> Linear(2 * units) -> split(2)
  return a * sigmoid(b) * gain
}

block ConvAct(channels, kernel=3, stride=1) =
  Conv(channels, kernel, stride=stride, pad=kernel // 2, bias=false) -> Bias(axis=1) -> relu

fn mix(a, b, k=0.5) = k * a + (1 - k) * b

fn scaled(x, by) {
  y = x * by
  return y + 0.5 * tanh(y)
}
"""


@dataclass
class Generated:
    """A program, and what a batch for it looks like: each field's element type, the shape of one example, classes."""

    text: str
    run: str
    batch: int
    fields: Mapping[str, tuple[str, Shape, int]]

    def made(self, size: int, seed: int) -> dict[str, Any]:
        """A batch of `size` made-up examples."""
        rng = np.random.default_rng(seed)
        result: dict[str, Any] = {}
        for name, (dtype, shape, classes) in self.fields.items():
            if dtype == "i64":
                result[name] = rng.integers(0, classes, (size, *shape))
            elif classes:
                result[name] = rng.integers(0, 2, (size, *shape)).astype(np.float32)
            else:
                result[name] = rng.normal(size=(size, *shape)).astype(np.float32)
        return result


def generated(rng: random.Random) -> Generated:
    """A random program that has to be accepted, compiled and trained."""
    return _Writer(rng).program()


@dataclass
class _Writer:
    rng: random.Random
    lines: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    names: int = 0

    def name(self, start: str = "h") -> str:
        self.names += 1
        return f"{start}{self.names}"

    def program(self) -> Generated:
        rng = self.rng
        shape = rng.choice(((rng.randint(1, 9),), (rng.randint(2, 5), rng.randint(1, 6)), self.image(), self.image()))
        fields: dict[str, tuple[str, Shape, int]] = {"x": ("f32", shape, 0)}
        current, shape = self.body("x", shape, rng.randint(1, 5))
        if rng.random() < 0.25:
            second = (rng.randint(1, 6),)
            fields["z"] = ("f32", second, 0)
            current, shape = self.vector(current, shape)
            other, other_shape = self.body("z", second, rng.randint(0, 2))
            other, other_shape = self.vector(other, other_shape)
            joined = self.name()
            self.lines.append(f"{joined} = concat([{current}, {other}], axis=-1)")
            current, shape = joined, (shape[0] + other_shape[0],)
        current, shape = self.vector(current, shape)
        loss, metric, target = self.objective(current, fields)
        inputs = [name for name in fields if name in ("x", "z")]
        types = {name: f"f32[B{''.join(f', {n}' for n in fields[name][1])}]" for name in inputs}
        if rng.random() < 0.3:
            declared = [f"  input {', '.join(f'{name}: {types[name]}' for name in inputs)}"]
        else:
            declared = [f"  input {name}: {types[name]}" for name in inputs]
        data = [f"  {name}: {dtype}[{', '.join(map(str, each))}]" for name, (dtype, each, _) in fields.items()]
        reader = 'npz("made.npz")' if any(len(each[1]) > 1 for each in fields.values()) else self.table(data, fields)
        splits = [f"  train = {reader}"] + (
            [f"  dev = holdout(train, {rng.choice((0.1, 0.25, 3))})"] if rng.random() < 0.4 else []
        )
        batch = rng.choice((1, 2, 3, 5, 8))
        keys = [f"  loss = {loss}", f"  optimizer = {self.optimizer()}", f"  batch = {batch}", "  epochs = 2"]
        if metric:
            keys.append(f"  metrics {{ {metric} }}")
        if rng.random() < 0.3:
            keys.append(rng.choice(("  clip_norm = 1.0", "  clip_value = 0.5", "  seed = 3")))
        if rng.random() < 0.15 and self.parts:
            part = rng.choice(self.parts)
            keys.append(rng.choice((f"  group n.{part} {{ lr_scale = 0.1 }}", f"  freeze n.{part}")))
        rng.shuffle(keys)
        net = ["net n {", *declared, *(f"  {line}" for line in self.lines), f"  return {target}", "}"]
        sections = ["\n".join(["data d {", *splits, *data, "}"]), TEMPLATES.strip(), "\n".join(net)]
        sections.append("\n".join(["train n on d as run {", *keys, "}"]))
        rng.shuffle(sections)
        return Generated("\n\n".join(sections) + "\n", "run", batch, fields)

    def table(self, data: list[str], fields: Mapping[str, tuple[str, Shape, int]]) -> str:
        """All fields are numbers or vectors: they may come from the columns of a table."""
        for index, (name, (_, shape, _classes)) in enumerate(fields.items()):
            if shape:
                columns = ", ".join(f'"{name}{i}"' for i in range(shape[0]))
                data[index] += f" = columns({columns})" + self.rng.choice(("", " -> standardize", " * 0.5"))
        return self.rng.choice(('csv("made.csv")', 'csv("made.csv", delimiter=";")'))

    def image(self) -> Shape:
        return (self.rng.randint(1, 3), self.rng.randint(3, 9), self.rng.randint(3, 9))

    def objective(self, current: str, fields: dict[str, tuple[str, Shape, int]]) -> tuple[str, str, str]:
        """The loss, a metric, and the name of the net's output, whose last layer is written."""
        rng = self.rng
        out = self.name("out")
        kind = rng.randrange(4)
        if kind == 0:
            classes = rng.randint(2, 5)
            self.lines.append(f"{out} = {current} -> Linear({classes})")
            fields["y"] = ("i64", (), classes)
            loss = f"cross_entropy({out}, y{rng.choice(('', '', ', smoothing=0.1'))})"
            metric = rng.choice(("", f"acc = accuracy({out}, y)"))
        elif kind == 1:
            width = rng.randint(1, 4)
            self.lines.append(f"{out} = {current} -> Linear({width})")
            fields["y"] = ("f32", (width,), 0)
            loss = rng.choice((f"mse({out}, y)", f"mean(square({out} - y))", f"mean(abs({out} - y))"))
            metric = rng.choice(("", f"err = mean(abs({out} - y)), worst = mean({out})".split(",")[0]))
        elif kind == 2:
            self.lines.append(f"{out} = {current} -> Linear(1) -> squeeze(-1)")
            fields["y"] = ("f32", (), 1)
            loss = f"binary_cross_entropy({out}, y)"
            metric = rng.choice(("", f"acc = mean(({out} > 0) == (y > 0.5))"))
        else:
            self.lines.append(f"{out} = {current} -> Linear(3) -> log_softmax")
            fields["y"] = ("i64", (), 3)
            loss = f"-mean(sum({out} * one_hot(y, 3), axis=-1))"
            metric = ""
        loss += rng.choice(("", "", " + 1e-3 * l2(n)", " + 1e-4 * l1(n)", f" + 0.01 * mean(square({current}))"))
        return loss, metric, out

    def optimizer(self) -> str:
        lr = self.rng.choice(
            ("0.01", "1e-3", "cosine(step, 0.01, warmup=2, total=steps)", "0.1 / (1 + step)", "0.05 * 0.9 ** epoch")
        )
        decay = self.rng.choice(("", ", weight_decay=1e-4"))
        return self.rng.choice((
            f"SGD(lr={lr}{decay})", f"Momentum(lr={lr}, beta=0.8{decay})", f"Nesterov(lr={lr}{decay})",
            f"Adam(lr={lr})", f"AdamW({lr}, b1=0.8{decay})",
        ))  # fmt: skip

    def vector(self, current: str, shape: Shape) -> tuple[str, Shape]:
        """What has come so far as one vector an example."""
        if len(shape) == 1:
            return current, shape
        new = self.name()
        if len(shape) == 3 and self.rng.random() < 0.3:
            self.lines.append(f"{new} = {current} -> global_avg_pool")
            return new, shape[:1]
        self.lines.append(f"{new} = {current} -> flatten" if self.rng.random() < 0.7 else f"{new} = flatten({current})")
        return new, (math.prod(shape),)

    def body(self, current: str, shape: Shape, statements: int) -> tuple[str, Shape]:
        for _ in range(statements):
            current, shape = self.statement(current, shape)
        return current, shape

    def statement(self, current: str, shape: Shape) -> tuple[str, Shape]:
        rng, new = self.rng, self.name()
        what = rng.randrange(11)
        if what == 0:
            formula = rng.choice((
                "{x} * 2 + 1", "-{x} / 3", "1 - {x}", "({x} + {x}) * 0.5", "square({x}) * 0.1", "{x} ** 2 / 10",
                "maximum({x}, 0.1 * {x})", "where({x} > 0, {x}, 0.3 * {x})", "{x} - detach({x}) * 0.5", "mix({x}, relu({x}))",
                "scaled({x}, by=0.7)", "mix({x}, tanh({x}), k=0.25)", "abs({x}) + 0", "{x} % 3", "{x} * (2 if 1 < 2 else 3)",
                "{x} if training else {x}", "{x} * len([1, 2]) / 2",
            ))  # fmt: skip
            self.lines.append(f"{new} = {formula.format(x=current)}")
            return new, shape
        if what == 1:
            part = self.name("f")
            self.lines += [
                f"{part} = Linear({shape[-1]})",
                f"{new} = {part}({current}) + 0.5 * {part}(tanh({current}))",
            ]
            self.parts.append(part)
            return new, shape
        if what == 2:
            weight = self.name("w")
            axis = rng.choice((f"f32[{shape[-1]}]", "f32[]", f"f32[{', '.join(map(str, shape))}]"))
            self.lines += [f"param {weight}: {axis} = {rng.choice(('ones', 'normal(0.1)', 'zeros', '0.5'))}"]
            self.lines += [f"{new} = {current} * {weight}"]
            return new, shape
        if what == 3 and len(shape) == 1 and shape[0] > 1:
            cut = rng.randint(1, shape[0] - 1)
            self.lines.append(f"{new} = concat([{current}[:, {cut}:], {current}[:, :{cut}]])")
            return new, shape
        stages, after = self.chain(shape, rng.randint(1, 4))
        alias = self.name("p")
        if rng.random() < 0.2 and stages[-1].split("(")[0] in ("Linear", "Dense", "Residual", "Conv"):
            stages[-1] += f" as {alias}"
            self.parts.append(alias)
        self.lines.append(f"{new} = {current} -> {' -> '.join(stages)}")
        return new, after

    def chain(self, shape: Shape, length: int, depth: int = 0) -> tuple[list[str], Shape]:
        stages: list[str] = []
        for _ in range(length):
            stage, shape = self.stage(shape, depth)
            stages.append(stage)
        return stages, shape

    def stage(self, shape: Shape, depth: int) -> tuple[str, Shape]:
        rng = self.rng
        what = rng.random()
        if what < 0.2:
            return rng.choice(ACTIVATIONS), shape
        if what < 0.26:
            return f"dropout({rng.choice(('0', '0.1', '0.5', '0.9'))})", shape
        if what < 0.36 and depth < 2:
            return self.loop(shape, depth)
        if what < 0.46 and depth < 2:
            return self.fan(shape, depth)
        if what < 0.5:
            inner, after = self.stage(shape, depth + 1)
            same = after == shape
            return (
                f"({inner} if {rng.choice(('true', '1 < 2', 'not false'))} else {'identity' if same else inner})"
            ), after
        if len(shape) == 3:
            return self.spatial(shape)
        if what < 0.55 and len(shape) == 1:
            return self.reshaped(shape)
        if what < 0.6 and len(shape) == 2:
            return rng.choice((
                ("flatten", (math.prod(shape),)), ("mean(axis=1)", shape[1:]), ("sum(axis=-1)", shape[:1]),
                ("transpose", shape[::-1]), ("softmax(axis=1)", shape), ("max(axis=1)", shape[1:]), ("logsumexp(axis=2)", shape[:1]),
                ("mean(axis=1, keep=true)", (1, shape[1])),
            ))  # fmt: skip
        units = rng.randint(1, 8)
        layer = rng.choice((
            f"Linear({units})", f"Linear(units={units}, bias=false)", f"Linear({units}, init=normal(0.05))", f"Linear({units}, init=he)",
            f"Dense({units})", f"Dense({units}, rate=0.3, act=false)", "Residual(4)", "Residual(width=3, scale=0.1)", f"Gate({units})",
        ))  # fmt: skip
        if layer.startswith("Gate") and len(shape) != 1:
            layer = f"Linear({units})"
        return layer, shape if layer.startswith("Residual") else (*shape[:-1], units)

    def loop(self, shape: Shape, depth: int) -> tuple[str, Shape]:
        rng = self.rng
        if len(shape) == 3:
            channels, counts = rng.randint(1, 4), rng.randint(0, 3)
            step = f"Conv({channels}, 3, pad=1) -> {rng.choice(ACTIVATIONS)}"
            return f"repeat {counts} {{ {step} }}", (channels, *shape[1:]) if counts else shape
        if rng.random() < 0.5:
            widths = [rng.randint(1, 6) for _ in range(rng.randint(1, 3))]
            source = str(widths) if rng.random() < 0.7 else f"[{widths[-1]} for i in 0..{len(widths)}]"
            return f"for c in {source} {{ Linear(c) -> relu }}", (*shape[:-1], widths[-1])
        stages, after = self.chain(shape, 1, depth + 2)
        if after == shape:
            return f"repeat {rng.randint(0, 3)} {{ {' -> '.join(stages)} }}", shape
        return f"repeat 1 {{ {' -> '.join(stages)} }}", after

    def fan(self, shape: Shape, depth: int) -> tuple[str, Shape]:
        rng = self.rng
        branches, total = [], 0
        for _ in range(rng.randint(1, 3)):
            width = rng.randint(1, 4)
            if len(shape) == 3:
                branches.append(
                    rng.choice((f"Conv({width}, 1)", f"Conv({width}, 3, pad=1) -> relu", f"ConvAct({width})"))
                )
            else:
                branches.append(rng.choice((f"Linear({width})", f"Dense({width}) -> relu", f"tanh -> Linear({width})")))
            total += width
        if rng.random() < 0.3:
            branches.append("identity")
            total += shape[0 if len(shape) == 3 else -1]
        axis = 1 if len(shape) == 3 else -1
        after = (total, *shape[1:]) if len(shape) == 3 else (*shape[:-1], total)
        return f"[{', '.join(branches)}] -> concat(axis={axis})", after

    def reshaped(self, shape: Shape) -> tuple[str, Shape]:
        size = shape[0]
        divisors = [n for n in range(1, size + 1) if size % n == 0]
        first = self.rng.choice(divisors)
        if self.rng.random() < 0.5:
            return f"reshape([B, {first}, {size // first}])", (first, size // first)
        return f"reshape([B, 1, {first}, {size // first}])", (1, first, size // first)

    def spatial(self, shape: Shape) -> tuple[str, Shape]:
        rng = self.rng
        channels, height, width = shape
        least = min(height, width)
        what = rng.randrange(6)
        if what == 0:
            return "flatten", (math.prod(shape),)
        if what == 1:
            return "global_avg_pool", shape[:1]
        if what == 2 and least >= 2:
            size = rng.randint(1, min(3, least))
            stride = rng.randint(1, 3)
            pool = rng.choice(("max_pool", "avg_pool"))
            out = tuple((n - size) // stride + 1 for n in (height, width))
            return f"{pool}({size}, stride={stride})", (channels, *out)
        out_channels = rng.randint(1, 4)
        kernel, stride, pad, dilation = (
            rng.randint(1, 3),
            rng.randint(1, 2),
            rng.randint(0, 2),
            rng.choice((1, 1, 1, 2)),
        )
        reach = dilation * (kernel - 1) + 1
        if least + 2 * pad < reach:
            kernel, dilation, reach = 1, 1, 1
        groups = channels if rng.random() < 0.2 else 1
        out_channels *= groups
        out = tuple((n + 2 * pad - reach) // stride + 1 for n in (height, width))
        settings = [
            f"stride={stride}" if stride > 1 else "",
            f"pad={pad}" if pad else "",
            f"dilation={dilation}" if dilation > 1 else "",
        ]
        settings += [f"groups={groups}" if groups > 1 else "", rng.choice(("", "bias=false", "init=glorot"))]
        return f"Conv({', '.join([str(out_channels), str(kernel), *filter(None, settings)])})", (out_channels, *out)
