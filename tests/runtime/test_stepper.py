"""The step loop on models made by hand: what a step reads, what it writes, and what it leaves alone."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from dlc.compiler.manifest import Carried, Field, Manifest, Scalar, attach
from dlc.runtime.errors import InputError, RunError
from dlc.runtime.session import open_session
from dlc.runtime.stepper import ALIGNMENT, SCALARS, Stepper, aligned, manifest_of

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def model(manifest: bool = True, columns: int | str = 2) -> bytes:
    """w' = w * frozen + sum of the batch; count' = count + step; loss = sum of w; finite = loss < 100."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
        helper.make_node("Mul", ["w", "frozen"], ["scaled"]),
        helper.make_node("Add", ["scaled", "total"], ["w:next"]),
        helper.make_node("Add", ["count", "step"], ["count:next"]),
        helper.make_node("ReduceSum", ["w"], ["loss"], keepdims=0),
        helper.make_node("Less", ["loss", "limit"], ["finite"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            value("w", FLOAT, [2]), value("count", INT, []), value("frozen", FLOAT, [2]),
            value("x", FLOAT, ["B", columns]), value("step", INT, []),
        ],
        [
            value("w:next", FLOAT, [2]), value("count:next", INT, []), value("loss", FLOAT, []),
            value("finite", BOOL, []),
        ],
        [helper.make_tensor("axis", INT, [1], [0]), helper.make_tensor("limit", FLOAT, [], [100.0])],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if manifest:
        carried = {
            "w": Carried("w:next", "parameter"),
            "count": Carried("count:next", "optimizer"),
            "frozen": Carried(None, "frozen"),
        }
        batch = {"x": Field("f32", ("B", columns))}
        attach(
            made,
            Manifest(kind="step", carried=carried, batch=batch, scalars={"step": Scalar("i64", 5)}, reports=("loss",)),
        )
    return bytes(made.SerializeToString())


START = {
    "w": np.array([1, 2], np.float32),
    "count": np.array(10),
    "frozen": np.array([2, 3], np.float32),
}


@pytest.fixture
def stepper() -> Stepper:
    made = Stepper(model(), batch=3)
    made.load(START)
    return made


def test_a_step_reads_the_batch_and_feeds_its_outputs_back(stepper: Stepper) -> None:
    stepper.batch["x"][...] = [[1, 0], [1, 0], [1, 10]]
    stepper.scalars["step"][...] = 7
    assert stepper.step()
    assert stepper.reports["loss"] == 3
    assert stepper.tensors()["w"].tolist() == [5, 16]
    assert stepper.tensors()["count"] == 17
    stepper.batch["x"][...] = 0
    stepper.scalars["step"][...] = 8
    assert stepper.step()
    assert stepper.reports["loss"] == 21 and stepper.values.tolist() == [21]
    assert stepper.tensors()["w"].tolist() == [10, 48]
    assert stepper.tensors()["count"] == 25


def test_many_steps_give_what_a_plain_loop_gives() -> None:
    stepper, opened = Stepper(model(), batch=3), open_session(model())
    small = START | {"frozen": np.array([0.5, -0.7], np.float32)}
    stepper.load(small)
    carried = dict(small)
    rng = np.random.default_rng(0)
    for step in range(9):
        x = rng.normal(size=(3, 2)).astype(np.float32)
        stepper.batch["x"][...] = x
        stepper.scalars["step"][...] = step
        assert stepper.step()
        w, count, loss, _ = opened.run(None, carried | {"x": x, "step": np.array(step)})
        assert stepper.reports["loss"] == loss
        carried |= {"w": w, "count": count}
        assert all(np.array_equal(stepper.tensors()[name], carried[name]) for name in carried)


def test_a_step_that_is_not_finite_changes_nothing(stepper: Stepper) -> None:
    stepper.batch["x"][...] = 1
    assert stepper.step()
    before = stepper.tensors()
    stepper.load(before | {"w": np.array([60, 50], np.float32)})
    assert not stepper.step()
    assert not stepper.step(), "and again, on the same values"
    assert stepper.tensors()["w"].tolist() == [60, 50]
    assert stepper.inputs()["x"].tolist() == [[1, 1]] * 3 and stepper.inputs()["step"] == 5
    stepper.load(before)
    assert stepper.step()


def test_no_buffer_is_read_and_written(stepper: Stepper) -> None:
    first, second = stepper._sets
    for name in ("w", "count"):
        assert first[name].value.data_ptr() != second[name].value.data_ptr()
    assert first["frozen"] is second["frozen"], "what nothing feeds back lies in one place"


def test_buffers_are_aligned_and_bound_once(stepper: Stepper) -> None:
    arrays = [stepper.batch["x"], *(buffer.array for buffer in stepper._sets[0].values())]
    assert all(array is not None and array.ctypes.data % ALIGNMENT == 0 for array in arrays)
    odd = aligned((3, 5), np.dtype(np.int8))
    assert odd.shape == (3, 5) and odd.ctypes.data % ALIGNMENT == 0 and not odd.any()


def test_what_is_read_out_is_a_copy(stepper: Stepper) -> None:
    stepper.tensors()["w"][...] = 99
    stepper.tensors()["frozen"][...] = 99
    assert stepper.tensors()["w"].tolist() == [1, 2] and stepper.tensors()["frozen"].tolist() == [2, 3]


def test_scalars_begin_at_their_defaults(stepper: Stepper) -> None:
    assert set(stepper.scalars) == set(SCALARS)
    assert stepper.scalars["step"] == 5
    assert stepper.signature["w"] == (np.dtype(np.float32), (2,))
    assert stepper.roles == {"w": "parameter", "count": "optimizer", "frozen": "frozen"}


def test_values_that_do_not_fit_are_refused(stepper: Stepper) -> None:
    with pytest.raises(InputError, match="there is no value for frozen"):
        stepper.load({name: START[name] for name in ("w", "count")})
    with pytest.raises(InputError, match=r"w: the step carries float32\[2\], found float32\[3\]"):
        stepper.load(START | {"w": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match=r"count: the step carries int64\[\], found int32\[\]"):
        stepper.load(START | {"count": np.array(1, np.int32)})


def test_models_that_are_no_step_are_refused() -> None:
    with pytest.raises(InputError, match=r"has no manifest \(metadata dlc.manifest\)"):
        Stepper(model(manifest=False))
    with pytest.raises(InputError, match="x has the size T, which is not known"):
        Stepper(model(columns="T"))
    opened = open_session(model())
    other = manifest_of(opened)
    with pytest.raises(InputError, match="no input y"):
        Stepper(
            model(manifest=False), manifest=Manifest(kind="step", batch=dict(other.batch) | {"y": other.batch["x"]})
        )
    with pytest.raises(InputError, match="report count:next is not an output of one float32"):
        Stepper(model(manifest=False), manifest=Manifest(kind="step", reports=("count:next",)))


def test_a_failing_run_is_told() -> None:
    stepper = Stepper(model(), batch=3)
    stepper._run = lambda binding: 1 / 0
    with pytest.raises(RunError, match="ONNX Runtime cannot run the step: division by zero"):
        stepper.step()
