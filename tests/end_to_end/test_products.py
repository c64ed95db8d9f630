"""What every written file has to be: valid, tied together by its manifest, reproducible, and right for every batch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from products_of import ROOT, SCALARS, SPECS, Arrays, Files, batch, call, compiled, session, spec, weights, widened

from dlc.compiler.evaluate import evaluate
from dlc.compiler.graph import Graph
from dlc.compiler.passes import INFERENCE, REQUIRED, TRAINING, labels, run
from dlc.compiler.products import deployed, pipeline_of, unit_model
from dlc.compiler.program import Program, Unit
from dlc.compiler.text import constants, from_text, to_text

ALL = tuple(sorted(path.stem for path in (ROOT / "specs").glob("*.net") if path.stem != "faces"))  # test_faces.py
DTYPES = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "u8": np.uint8, "bool": np.bool_, "i32": np.int32}


def units(name: str) -> Iterator[Unit]:
    """What each file of a spec is made from."""
    program = spec(name)
    for each in program.runs:
        yield program.init(each)
        yield program.step(each)
        yield program.gradients(each)
        yield program.application(each)
        yield from program.evaluation(each)
    for each in program.nets:
        yield program.net(each)
    for each in program.datas:
        yield program.prepare(each)
        fit = program.fit(each)
        if fit is not None:
            yield fit


@pytest.mark.parametrize("name", ALL)
def test_every_file_is_valid_onnx(name: str, tmp_path: Path) -> None:
    files = compiled(name)
    program = files.program
    expected = {f"{r}.{kind}" for r in program.runs for kind in ("init", "step", "grad", "apply", "eval", "report")}
    expected |= set(program.nets) | {f"{data}.prepare" for data in program.datas}
    assert {each for each in files.models if not each.endswith(".fit")} == expected
    for file, content in files.content.items():
        path = tmp_path / f"{file}.onnx"
        path.write_bytes(content)
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(path)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 21)]
        assert {node.domain for node in _nodes(model.graph)} <= {""}
        assert not model.functions
        session(content)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


@pytest.mark.parametrize("name", ALL)
def test_manifests_say_what_the_files_have(name: str) -> None:
    files = compiled(name)
    for file, content in files.content.items():
        model = onnx.load_from_string(content)
        manifest = json.loads({each.key: each.value for each in model.metadata_props}["dlc.manifest"])
        inputs = {each.name: each.type.tensor_type for each in model.graph.input}
        outputs = {each.name: each.type.tensor_type for each in model.graph.output}
        groups = [set(manifest[group]) for group in ("carried", "batch", "scalars")]
        assert manifest["version"] == 1
        assert set(inputs) == set().union(*groups) and len(inputs) == sum(map(len, groups)), file
        for address, each in manifest["carried"].items():
            if each["output"] is not None:
                assert outputs[each["output"]] == inputs[address], f"{file}: {address}"
        for field, each in manifest["batch"].items():
            dims = [d.dim_param or d.dim_value for d in inputs[field].shape.dim]
            assert dims == each["shape"], f"{file}: {field}"
            assert onnx.helper.tensor_dtype_to_np_dtype(inputs[field].elem_type) == DTYPES[each["dtype"]]
        for scalar in manifest["scalars"]:
            assert inputs[scalar].elem_type == onnx.TensorProto.INT64 and not inputs[scalar].shape.dim
        kind = "infer" if file in files.program.nets else file.rpartition(".")[2]
        assert manifest["kind"] == ("infer" if kind == "fit" else kind)
        if kind == "step":
            fed = {each["output"] for each in manifest["carried"].values()} - {None}
            assert set(outputs) == fed | set(manifest["reports"]) | {"finite"}
            first = file.replace(".step", ".init")
            made = {each.name: each.type.tensor_type for each in files.models[first].graph.output}
            assert {key: made[key] for key in manifest["carried"]} == {key: inputs[key] for key in manifest["carried"]}
            assert tuple(manifest["init_batch"]) == tuple(files.manifest(first).batch)
        if kind in ("eval", "infer"):
            assert {each["role"] for each in manifest["carried"].values()} <= {"parameter", "state", "frozen"}
        if kind == "eval":
            assert set(outputs) == {*manifest["totals"], *manifest["constants"], *manifest["totals"].values()} - {None}


HASHES = """
import hashlib, json, sys
from pathlib import Path
from dlc.compiler.emit import serialized
from dlc.compiler.products import products
from dlc.compiler.program import Program
found = {}
for path in sys.argv[1:]:
    for name, model in products(Program.open(Path(path)), split=True).items():
        found[f"{Path(path).stem}/{name}"] = hashlib.sha256(serialized(model)).hexdigest()
print(json.dumps(found))
"""


def test_two_processes_write_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    paths = [f"specs/{name}.net" for name in SPECS]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HASHES, *paths], stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    first, second = (json.loads(each.communicate(timeout=120)[0]) for each in running)
    assert first == second
    ours = {  # and so does this one, whatever it has compiled before
        f"{name}/{file}.onnx": hashlib.sha256(data).hexdigest()
        for name, path in zip(SPECS, paths, strict=True)
        for file, data in Files(Program.open(Path(path))).content.items()
    }
    assert ours == first


def test_bytes_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "specs" / "logistic.net").read_text()
    contents = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "logistic.net").write_text(text)
        monkeypatch.chdir(tmp_path / folder)
        contents.append(Files(Program.open(Path("logistic.net"))).content)
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", SPECS)
def test_steps_are_right_for_every_batch(name: str) -> None:
    """The step's file, chosen for the run's batch, against the unlowered graph in float64."""
    files = compiled(name)
    exact = run(spec(name).step(name, working="f64").graph, TRAINING, after="differentiate")
    for size in (1, 3, files.manifest(f"{name}.step").extensions["x_settings"]["batch"]):
        if name == "linear" and size == 1:
            size = 2  # one example has no variance: r2 is infinite
        feeds = {**SCALARS, **weights(name), **batch(name, size)}
        if f"{name}.optimizer.t" in feeds:
            feeds |= _warmed(name, feeds)
        outputs = files.run(f"{name}.step", feeds)
        expected = evaluate(exact, widened({key: feeds[key] for key in exact.input_names}))
        assert set(outputs) == set(expected) and outputs["finite"]
        for key, value in expected.items():
            # Products of up to 800 terms in float32: 1e-5 of the tensor's largest element.
            scale = np.abs(value).max() if value.dtype == np.float64 else 0
            np.testing.assert_allclose(
                outputs[key], value, rtol=1e-5, atol=1e-5 * scale, err_msg=f"{key}, batch {size}"
            )


def _warmed(name: str, feeds: Arrays) -> Arrays:
    """Averages of Adam as after many steps: with none, the sign of a tiny gradient decides a whole move."""
    rng = np.random.default_rng(8)
    made: Arrays = {}
    for address in compiled(name).manifest(f"{name}.step").carried:
        shape = np.shape(feeds[address])
        if address.endswith(".m"):
            made[address] = rng.normal(0, 0.01, shape).astype(np.float32)
        elif address.endswith(".v"):
            made[address] = rng.uniform(0.01, 0.02, shape).astype(np.float32)
    return {**made, f"{name}.optimizer.t": np.float32(50)}


@pytest.mark.parametrize("name", SPECS)
def test_nets_and_evaluations_are_right_for_every_batch(name: str) -> None:
    files = compiled(name)
    parts = [(name, spec(name).net(name)), (f"{name}.eval", spec(name).evaluation(name)[0])]
    for file, unit in parts:
        for size in (1, 3, 64):
            feeds = {**weights(name), **batch(name, size)}
            outputs = files.run(file, feeds)
            expected = evaluate(unit.graph, {key: np.asarray(feeds[key]) for key in unit.graph.input_names})
            for key, value in expected.items():
                scale = np.abs(value).max() if value.dtype == np.float32 else 0
                np.testing.assert_allclose(outputs[key], value, rtol=1e-5, atol=1e-5 * scale, err_msg=f"{file} {key}")


@pytest.mark.parametrize("name", ALL)
def test_every_file_runs(name: str) -> None:
    """On any input of the right types; what comes out has the types that the file declares."""
    files = compiled(name)
    rng = np.random.default_rng(3)
    for file, model in files.models.items():
        feeds: Arrays = {}
        for each in model.graph.input:
            shape = [dim.dim_value or 3 for dim in each.type.tensor_type.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(each.type.tensor_type.elem_type)
            floating = np.issubdtype(dtype, np.floating)
            feeds[each.name] = (rng.uniform(0.1, 1, shape) if floating else rng.integers(1, 9, shape)).astype(dtype)
        outputs = files.run(file, feeds)
        assert list(outputs) == [each.name for each in model.graph.output]
        for each in model.graph.output:
            shape = [dim.dim_value or 3 for dim in each.type.tensor_type.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(each.type.tensor_type.elem_type)
            found = np.asarray(outputs[each.name])
            assert (found.dtype, list(found.shape)) == (dtype, shape), f"{file}: {each.name}"


@pytest.mark.parametrize("name", SPECS)
def test_graph_text_reads_back_at_every_stage(name: str) -> None:
    for unit in units(name):
        stages = [unit.graph]
        run(unit.graph, pipeline_of(unit.kind), verify=False, trace=lambda _, __, after, to=stages: to.append(after))
        for before, graph in zip([None, *stages], stages, strict=False):
            if graph is not before:
                _assert_reads_back(graph)


def _assert_reads_back(graph: Graph) -> None:
    text = to_text(graph)
    again = from_text(text, constants(graph))
    assert to_text(again) == text
    assert again.input_names == graph.input_names and list(again.outputs) == list(graph.outputs)
    assert again.sizes == graph.sizes
    assert [n.op for n in again.nodes] == [n.op for n in graph.nodes]
    assert [v.type for n in again.nodes for v in n.outputs] == [v.type for n in graph.nodes for v in n.outputs]
    assert [n.span for n in again.nodes] == [n.span for n in graph.nodes]


SMALL = """
data pictures {
  train = npz("pictures.npz")
  image: f32[2, 8, 8] = raw.image
  label: i64[]        = raw.label
}
net small {
  input image: f32[B, 2, 8, 8]
  logits = image -> Conv(3, 3, pad=1) -> relu -> avg_pool(2) -> Conv(4, 3, stride=2) -> tanh
    -> flatten -> Linear(6) -> relu -> dropout(0.25) -> Linear(5)
  return logits
}
train small on pictures {
  loss = cross_entropy(logits, label) + 1e-3 * l2(small)
  metrics { acc = accuracy(logits, label) }
  optimizer = AdamW(lr=cosine(step, 0.01, warmup=3, total=steps))
  clip_norm = 0.5
  batch = 8
}
train small on pictures as plain {
  loss = cross_entropy(logits, label)
  optimizer = Momentum(lr=0.05, weight_decay=0.01)
  batch = 8
}
"""
OPTIONAL = tuple(dict.fromkeys(each.__name__ for each in (*TRAINING, *INFERENCE) if each not in REQUIRED))


@lru_cache
def _small() -> Program:
    return Program.of_text(SMALL)


def _small_feeds(unit: Unit) -> Arrays:
    rng = np.random.default_rng(4)
    fixed = {"label": rng.integers(0, 5, 6), "steps": 20, "step": 7, "seed": 5, "small.optimizer.t": np.float32(9)}
    feeds: Arrays = {}
    for value, name in zip(unit.graph.inputs, unit.graph.input_names, strict=True):
        shape = [dim if isinstance(dim, int) else 6 for dim in value.shape]
        low = 0.05 if name.endswith(".v") else -0.4
        feeds[name] = fixed.get(name, rng.uniform(low, 0.4, shape).astype(np.float32))
    return feeds


@pytest.mark.parametrize("left_out", OPTIONAL)
def test_each_optional_pass_keeps_the_numbers(left_out: str) -> None:
    for name in _small().runs:
        for unit in (_small().step(name), _small().gradients(name), _small().evaluation(name)[0]):
            if left_out not in labels(pipeline_of(unit.kind)):
                continue
            feeds = _small_feeds(unit)
            outputs = []
            for without in ((), (left_out,)):
                model = unit_model(_small(), unit, without=without)
                one = session(model.SerializeToString())
                names = [each.name for each in one.get_outputs()]
                taken = {each.name: np.asarray(feeds[each.name]) for each in one.get_inputs()}
                outputs.append(dict(zip(names, one.run(None, taken), strict=True)))
            assert list(outputs[0]) == list(outputs[1])
            for key, value in outputs[0].items():
                scale = np.abs(value).max() if value.dtype == np.float32 else 0
                np.testing.assert_allclose(outputs[1][key], value, rtol=1e-5, atol=2e-6 * scale, err_msg=key)


def test_two_thousand_layers_compile() -> None:
    """Nothing recurses along the depth of a net: the step of 2,000 layers is checked and compiled in half a minute."""
    text = """
data points {
  train = npz("points.npz")
  x: f32[4] = raw.x
  y: f32[4] = raw.y
}
net deep {
  input x: f32[B, 4]
  last = x -> repeat 2000 { Linear(4) -> tanh }
  return last
}
train deep on points {
  loss = mse(last, y)
  optimizer = SGD(lr=0.1)
  batch = 8
}
"""
    program = Program.of_text(text)
    program.check()
    unit = program.step("deep")
    assert len(unit.carried) == 4000
    model = unit_model(program, unit)
    onnx.checker.check_model(model)
    assert len(model.graph.node) >= 2000 * 4  # forward, and the two products and the sum backward


@pytest.mark.parametrize("name", SPECS)
def test_partial_batches_add_up_to_the_metrics_of_the_whole(name: str) -> None:
    files = compiled(name)
    examples = batch(name, 23, seed=6)
    feeds = {**weights(name), **SCALARS}
    manifest = files.manifest(f"{name}.eval")

    def metrics(bounds: list[int]) -> Arrays:
        totals: Arrays = {}
        for low, high in pairwise(bounds):
            outputs = files.run(f"{name}.eval", {**feeds, **{k: v[low:high] for k, v in examples.items()}})
            for key, value in outputs.items():
                before = 0.0 if key in manifest.constants else totals.get(key, 0.0)
                totals[key] = np.float64(before + np.float64(value))
        return files.run(f"{name}.report", totals)

    whole = metrics([0, 23])
    for bounds in ([0, 10, 20, 23], [0, 1, 23], list(range(24))):
        parts = metrics(bounds)
        assert set(parts) == set(whole) == {"loss", *(spec(name).evaluation(name)[1].reports)}
        for key, value in whole.items():
            assert parts[key] == pytest.approx(value, rel=2e-6), f"{key} in batches {bounds}"

    if name != "mlp":  # without dropout the loss of training is that of evaluation
        graph = run(spec(name).gradients(name, working="f64").graph, TRAINING, after="differentiate")
        direct = evaluate(graph, widened({key: {**feeds, **examples}[key] for key in graph.input_names}))
        for key, value in whole.items():
            assert value == pytest.approx(float(direct[key]), rel=1e-5), key


@pytest.mark.parametrize("name", SPECS)
def test_a_deployed_net_takes_records_as_the_reader_gives_them(name: str) -> None:
    """With weights inside and `prepare` in front: the same as preparing each record, then the net."""
    files = compiled(name)
    data = next(iter(files.program.datas))
    prepare = files.models[f"{data}.prepare"]
    rng = np.random.default_rng(9)
    fitted: Arrays = {}
    records: Arrays = {}
    for value in prepare.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if value.name in files.manifest(f"{data}.prepare").carried:
            fitted[value.name] = rng.uniform(0.5, 2, shape).astype(dtype)
        else:
            records[value.name] = rng.integers(0, 9, [3, *shape]).astype(dtype)
    rows = [files.run(f"{data}.prepare", {**fitted, **{k: v[i] for k, v in records.items()}}) for i in range(3)]
    fields = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    expected = files.run(name, {**weights(name), **fields})

    model = deployed(files.program, name, {**weights(name), **fitted}, data)
    onnx.checker.check_model(model, full_check=True)
    (field,) = files.manifest(name).batch
    taken = model.graph.input[0]
    assert [each.name for each in model.graph.input] == [field]
    shape = [3, *(dim.dim_value for dim in taken.type.tensor_type.shape.dim[1:])]
    found = call(session(model.SerializeToString()), {field: records[f"raw.{field}"].reshape(shape)})
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)
