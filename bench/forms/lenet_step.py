"""A whole training step of LeNet-5 (SGD, batch 64), compiled, against PyTorch eager. Run: python bench/forms/lenet_step.py [profile]"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from typing import Any

import numpy as np
from measure import THREADS

BATCH = 64
SHAPES = {
    "w1": (6, 1, 5, 5), "b1": (6,), "w2": (16, 6, 5, 5), "b2": (16,), "w3": (120, 16, 5, 5), "b3": (120,),
    "w4": (120, 84), "b4": (84,), "w5": (84, 10), "b5": (10,),
}  # fmt: skip


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {name: (rng.standard_normal(shape) * 0.1).astype(np.float32) for name, shape in SHAPES.items()}


def batch() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((BATCH, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, (BATCH, 1))


def compiled() -> Any:
    from dlc.compiler.build import Builder, ints, op
    from dlc.compiler.emit import emit
    from dlc.compiler.passes import TRAINING, run
    from dlc.compiler.passes.differentiate import gradients
    from dlc.compiler.types import Type, symbol

    B = symbol("B")
    builder = Builder()
    with builder:
        w = {name: builder.input(name, Type("f32", shape)) for name, shape in SHAPES.items()}
        x = builder.input("image", Type("f32", (B, 1, 28, 28)))
        label = builder.input("label", Type("i64", (B, 1)))
        h = op.Tanh(op.Conv(x, w["w1"], w["b1"], pads=(2, 2, 2, 2)))
        h = op.AveragePool(h, kernel_shape=(2, 2), strides=(2, 2))
        h = op.Tanh(op.Conv(h, w["w2"], w["b2"]))
        h = op.AveragePool(h, kernel_shape=(2, 2), strides=(2, 2))
        h = op.Flatten(op.Tanh(op.Conv(h, w["w3"], w["b3"])))
        h = op.Tanh(op.MatMul(h, w["w4"]) + w["b4"])
        logits = op.MatMul(h, w["w5"]) + w["b5"]
        chosen = op.GatherElements(op.LogSoftmax(logits, axis=-1), label, axis=1)
        loss = -op.ReduceMean(chosen, None, keepdims=0)
        g = gradients(loss, list(w.values()))
        outputs = {"loss": loss} | {f"{name}:next": value - 0.1 * g[value] for name, value in w.items()}
    graph = run(builder.graph("lenet", outputs, sizes={"B": BATCH}), TRAINING)
    return graph, emit(graph)


def of_dlc(queue: Any, seconds: float, profile: bool = False) -> None:
    import onnxruntime as ort

    graph, model = compiled()
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    options.enable_profiling = profile
    options.profile_file_prefix = "/tmp/lenet"
    options.add_free_dimension_override_by_name("B", BATCH)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = weights()
    values["image"], values["label"] = batch()
    sets = []
    first = {name: ort.OrtValue.ortvalue_from_numpy(values[name]) for name in SHAPES}
    second = {name: ort.OrtValue.ortvalue_from_numpy(values[name].copy()) for name in SHAPES}
    for now, after in ((first, second), (second, first)):
        binding = session.io_binding()
        for name in SHAPES:
            binding.bind_ortvalue_input(name, now[name])
            binding.bind_ortvalue_output(f"{name}:next", after[name])
        for name in ("image", "label"):
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values[name]))
        binding.bind_output("loss")
        sets.append(binding)
    turn = 0

    def step() -> None:
        nonlocal turn
        session.run_with_iobinding(sets[turn % 2])
        turn += 1

    times = timed(step, seconds)
    loss = float(sets[(turn - 1) % 2].copy_outputs_to_cpu()[-1].item())
    if profile:
        print(session.end_profiling())
    queue.put((len(graph.nodes), times, loss, turn))


def of_torch(queue: Any, seconds: float) -> None:
    import torch

    torch.set_num_threads(THREADS)
    values = weights()
    w = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    optimizer = torch.optim.SGD(w.values(), lr=0.1)
    image, label = (torch.tensor(value) for value in batch())
    label = label[:, 0]
    f = torch.nn.functional
    last = None

    def step() -> None:
        nonlocal last
        optimizer.zero_grad()
        h = f.avg_pool2d(torch.tanh(f.conv2d(image, w["w1"], w["b1"], padding=2)), 2)
        h = f.avg_pool2d(torch.tanh(f.conv2d(h, w["w2"], w["b2"])), 2)
        h = torch.tanh(f.conv2d(h, w["w3"], w["b3"])).flatten(1)
        h = torch.tanh(h @ w["w4"] + w["b4"])
        last = f.cross_entropy(h @ w["w5"] + w["b5"], label)
        last.backward()
        optimizer.step()

    times = timed(step, seconds)
    queue.put((0, times, float(last), 0))


def timed(step: Any, seconds: float) -> list[float]:
    for _ in range(10):
        step()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    return times


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    if sys.argv[1:] == ["profile"]:
        of_dlc(context.Queue(), 1, True)
        sys.exit()
    medians: dict[str, list[float]] = {"dlc": [], "torch": []}
    for _ in range(7):
        for name, side in (("dlc", of_dlc), ("torch", of_torch)):
            queue = context.Queue()
            process = context.Process(target=side, args=(queue, 0.8))
            process.start()
            nodes, times, loss, _ = queue.get()
            process.join()
            medians[name].append(statistics.median(times))
    for name, found in medians.items():
        print(f"{name:6} {statistics.median(found):7.2f} ms   ({' '.join(f'{t:.2f}' for t in sorted(found))})")
