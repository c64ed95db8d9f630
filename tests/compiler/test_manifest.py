"""The manifest as JSON and against its model; every way to get it wrong has a message that says where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlc.compiler.build import Builder
from dlc.compiler.emit import emit, serialized
from dlc.compiler.graph import Graph
from dlc.compiler.manifest import (
    KEY,
    Carried,
    Field,
    Manifest,
    ManifestError,
    Scalar,
    Source,
    attach,
    from_json,
    read,
)
from dlc.compiler.text import from_text
from dlc.compiler.types import Type, quotient, symbol

STEP = Manifest(
    kind="step",
    carried={
        "net.weight": Carried("net.weight:next", "parameter"),
        "net.fixed": Carried(None, "frozen"),
    },
    batch={"image": Field("f32", ("B", 3))},
    scalars={"step": Scalar("i64", 0), "lr": Scalar("f32")},
    reports=("loss",),
    source=Source("net.net", "ab" * 32, {"lr": 0.1, "name": "é", "sizes": [1, 2]}, "0.1.0", 1),
    extensions={"x_note": {"a": [1, None, True]}},
)
GRAPH = """
graph step(%"net.weight": f32[3, 3], %"net.fixed": f32[3], %image: f32[B, 3], %step: i64[], %lr: f32[])
%0: f32[B, 3] = MatMul(%image, %"net.weight")
%1: f32[B, 3] = Add(%0, %"net.fixed")
%2: f32[] = ReduceMean(%1) {keepdims = 0}
%3: f32[] = Mul(%2, %lr)
%4: f32[] = Cast(%step) {to = "f32"}
%5: f32[] = Add(%3, %4)
%6: f32[3, 3] = Mul(%"net.weight", %3)
return "net.weight:next" = %6, loss = %5
"""


def graph() -> Graph:
    return from_text(GRAPH)


def test_json_round_trip() -> None:
    text = STEP.to_json()
    assert from_json(text) == STEP
    assert from_json(text).to_json() == text
    content = json.loads(text)
    assert content["version"] == 1 and content["kind"] == "step"
    assert content["carried"]["net.weight"] == {"output": "net.weight:next", "role": "parameter"}
    assert content["carried"]["net.fixed"] == {"output": None, "role": "frozen"}
    assert content["batch"]["image"] == {"dtype": "f32", "shape": ["B", 3]}
    assert content["scalars"] == {"step": {"dtype": "i64", "default": 0}, "lr": {"dtype": "f32", "default": None}}
    assert content["source"]["lets"] == {"lr": 0.1, "name": "é", "sizes": [1, 2]}
    assert content["x_note"] == {"a": [1, None, True]}


def test_the_order_of_keys_does_not_matter() -> None:
    shuffled = replace(STEP, carried=dict(reversed(STEP.carried.items())), scalars=dict(reversed(STEP.scalars.items())))
    assert shuffled.to_json() == STEP.to_json()


def test_every_section() -> None:
    manifest = Manifest(
        kind="eval",
        batch={"x": Field("f32", ("(H + 1)//2",)), "n": Field("i64", ())},
        init_batch=("x",),
        totals={"loss.sum": "loss.count", "hits": None},
        constants=("l2",),
        arguments={"bleu": ("said", "meant")},
        data={"reader": "csv", "columns": [{"name": "a"}]},
    )
    assert from_json(manifest.to_json()) == manifest
    assert from_json('{"version": 1, "kind": "init"}') == Manifest(kind="init")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "the manifest's version is 2; this dlc reads version 1"),
        ({"version": None}, "version is None"),
        ({"kind": "stepp"}, 'kind: expected one of init, step, .* found "stepp"'),
        ({"colour": 1}, "the key 'colour', which version 1 has not"),
        ({"carried": []}, r"carried: expected an object, found \[\]"),
        ({"carried": {"w": {"output": "v"}}}, "carried.w: expected an object with the keys output, role"),
        ({"carried": {"w": {"output": 3, "role": "state"}}}, "carried.w.output: expected a string"),
        ({"carried": {"w": {"output": "v", "role": "weight"}}}, "carried.w.role: expected one of parameter, state"),
        ({"carried": {n: {"output": "v", "role": "state"} for n in "ab"}}, "the output v feeds both a and b"),
        ({"batch": {"x": {"dtype": "float", "shape": []}}}, 'batch.x.dtype: expected one of f32.*found "float"'),
        ({"batch": {"x": {"dtype": "f32", "shape": "B"}}}, "batch.x.shape: expected a list of sizes"),
        ({"batch": {"x": {"dtype": "f32", "shape": [True]}}}, "batch.x.shape"),
        ({"batch": {"x": {"dtype": "f32", "shape": [-1]}}}, "batch.x.shape"),
        ({"scalars": {"s": {"dtype": "i64", "default": "0"}}}, "scalars.s.default: expected a number"),
        ({"batch": {"image": {"dtype": "f32", "shape": []}}, "scalars": {"image": {"dtype": "f32", "default": 0}}},
         "lists the input image under batch and under scalars"),
        ({"reports": "loss"}, "reports: expected a list of names"),
        ({"reports": ["a", "a"]}, "reports: expected names that differ"),
        ({"reports": [""]}, "reports: expected a string that is not empty"),
        ({"init_batch": ["y"]}, "init_batch lists y, which is not under batch"),
        ({"totals": {"a": 1}}, "totals.a: expected a string"),
        ({"arguments": {"a": "b"}}, "arguments.a: expected a list"),
        ({"source": {"file": "a.net"}}, "source: expected an object with the keys file, sha256"),
        ({"source": {"file": "a", "sha256": "b", "lets": {}, "dlc": "c", "edition": "1"}}, "source.edition"),
    ],
)  # fmt: skip
def test_malformed(change: dict[str, Any], message: str) -> None:
    content = {"version": 1, "kind": "step", **change}
    with pytest.raises(ManifestError, match=message):
        from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"text"', "[]", "3", "null"])
def test_not_even_an_object(text: str) -> None:
    with pytest.raises(ManifestError, match="the manifest"):
        from_json(text)


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(kind="step", extensions={"note": 1}),
        Manifest(kind="step", extensions={"x_a": float("nan")}),
        Manifest(kind="step", extensions={"x_a": {1: 2}}),
        Manifest(kind="step", extensions={"x_a": object()}),
        Manifest(kind="step", scalars={"a": Scalar("f32", float("inf"))}),
        Manifest(kind="other"),
    ],
)
def test_what_json_cannot_hold_is_refused_on_the_way_out(manifest: Manifest) -> None:
    with pytest.raises(ManifestError):
        manifest.to_json()


def test_against_the_model() -> None:
    model = emit(graph(), STEP)
    assert read(model) == STEP


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": {}}, "the model has inputs that the manifest does not list: image"),
        ({"batch": {**STEP.batch, "label": Field("i64", ("B",))}}, "inputs that the model does not have: label"),
        ({"batch": {"image": Field("f32", ("N", 3))}}, r"input image is f32\[B, 3\], the manifest says f32\[N, 3\]"),
        ({"batch": {"image": Field("f64", ("B", 3))}}, r"the manifest says f64\[B, 3\]"),
        ({"scalars": {**STEP.scalars, "step": Scalar("i32", 0)}}, r"step is i64\[\], the manifest says i32\[\]"),
        ({"reports": ("loss", "accuracy")}, "outputs that the model does not have: accuracy"),
        ({"carried": {**STEP.carried, "net.weight": Carried(None, "frozen")}},
         "outputs that the manifest does not list: net.weight:next"),
        ({"carried": {**STEP.carried, "net.weight": Carried("loss", "state")}, "reports": ("net.weight:next",)},
         r"loss is f32\[\] and cannot be fed to net.weight, which is f32\[3, 3\]"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        emit(graph(), replace(STEP, **change))


def test_a_field_of_a_type() -> None:
    assert Field.of(Type("u8", (symbol("B"), quotient(symbol("H") + 1, 2), 3))) == Field("u8", ("B", "(H + 1)//2", 3))


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(serialized(emit(graph(), STEP)))
    assert read(path) == STEP and read(str(path)) == STEP
    path.write_bytes(serialized(emit(graph())))
    with pytest.raises(ManifestError, match=r"a\.onnx has no manifest"):
        read(path)
    path.write_bytes(b"no model at all")
    with pytest.raises(ManifestError, match="is no ONNX file"):
        read(path)
    with pytest.raises(ManifestError, match=r"cannot read .*: No such file"):
        read(tmp_path / "missing.onnx")
    model = emit(graph())
    model.metadata_props.add(key=KEY, value="{}")
    with pytest.raises(ManifestError, match="the model: the manifest's version is None"):
        read(model)


def test_attaching_again_replaces() -> None:
    model = emit(graph(), STEP, metadata={"b": "1", "a": "2"})
    attach(model, replace(STEP, reports=()))
    assert [entry.key for entry in model.metadata_props] == ["a", "b", KEY]
    assert read(model).reports == ()


def test_report_takes_totals_as_inputs() -> None:
    builder = Builder()
    total, count = (builder.input(name, Type("f64", ())) for name in ("loss.sum", "loss.count"))
    loss = builder.add("Div", [total, count]).output
    manifest = Manifest(
        kind="report",
        batch={"loss.sum": Field("f64", ()), "loss.count": Field("f64", ())},
        reports=("loss",),
        totals={"loss.sum": "loss.count"},
    )
    emit(builder.graph("report", {"loss": loss}), manifest)
