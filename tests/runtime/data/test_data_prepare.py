"""prepare: fields of every example, constants fitted on the training split alone, the cache, and broken graphs."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlc.runtime.data import DataError, prepare
from dlc.runtime.data.cache import cache_folder
from dlc.runtime.data.graph import Graph

F, U, L = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (50, 1, 2, 3)).astype(np.uint8)
IMAGE[:, 0, 0, 0] = 7  # a constant pixel
LABEL = RNG.integers(0, 3, 50)


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, constants=None) -> bytes:
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def prepare_model() -> bytes:
    return model(
        [
            helper.make_node("Cast", ["image"], ["f"], to=F),
            helper.make_node("Sub", ["f", "d.image.mean"], ["c"]),
            helper.make_node("Div", ["c", "d.image.std"], ["image:field"]),
            helper.make_node("Identity", ["label"], ["label:field"]),
        ],
        [value("image", U, [1, 2, 3]), value("label", L, []), value("d.image.mean", F, [1, 2, 3]),
         value("d.image.std", F, [1, 2, 3])],
        [value("image:field", F, [1, 2, 3]), value("label:field", L, [])],
    )  # fmt: skip


def fit_model() -> bytes:
    nodes = [helper.make_node("Cast", ["image"], ["d.image:fit"], to=F)]
    return model(nodes, [value("image", U, [1, 2, 3])], [value("d.image:fit", F, [1, 2, 3])])


def fitted(shape):
    return {
        f"d.image.{s}": {"dtype": "f32", "shape": shape, "statistic": s, "of": "d.image:fit"} for s in ("mean", "std")
    }


def plan():
    return {
        "splits": [
            {"name": "train", "reader": "npz", "args": ["a.npz"]},
            {"name": "dev", "reader": "holdout", "of": "train", "size": 0.2, "seed": 0},
        ],
        "records": {"image": {"dtype": "u8", "shape": [1, 2, 3]}, "label": {"dtype": "i64", "shape": []}},
        "fields": {
            "image:field": {"dtype": "f32", "shape": [1, 2, 3]}, "label:field": {"dtype": "i64", "shape": []}
        },
        "fitted": fitted([1, 2, 3]),
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """run(plan, prepare model, fit model, ...) with files and cache in tmp_path; `run.said` are the notes."""
    np.savez(tmp_path / "a.npz", image=IMAGE, label=LABEL)

    def go(of=None, first=None, second=None, **settings):
        settings = {"cache": tmp_path / "cache", "say": go.said.append} | settings
        return prepare(of or plan(), first or prepare_model(), second or fit_model(), tmp_path, **settings)

    go.said = []
    return go


@pytest.fixture
def no_graphs(monkeypatch):
    """From when it is called on, loading a graph fails: only the cache can answer."""
    return lambda: monkeypatch.setattr(Graph, "load", staticmethod(lambda *_: pytest.fail("a graph was run")))


def test_fields_and_constants(run):
    dataset = run()
    train, dev = dataset.split("train"), dataset.split("dev")
    assert (len(train), len(dev)) == (40, 10)
    raw = IMAGE.astype(np.float64)
    mean, std = dataset.fitted["d.image.mean"], dataset.fitted["d.image.std"]
    assert mean.dtype == std.dtype == np.float32
    back = train.fields["image:field"] * std + mean
    rows = [int(np.argmin(np.abs(raw - b).sum(axis=(1, 2, 3)))) for b in back]
    assert len(set(rows)) == 40 and np.allclose(back, raw[rows], atol=1e-3)
    assert train.fields["label:field"].tolist() == LABEL[rows].tolist()
    expected = raw[rows].std(axis=0)
    expected[0, 0, 0] = 1
    np.testing.assert_allclose(mean, raw[rows].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, expected, rtol=1e-6)
    assert train.fields["image:field"].dtype == np.float32 and not train.fields["image:field"].flags.writeable
    assert (train.fields["image:field"][:, 0, 0, 0] == 0).all()


def test_constants_come_from_training_alone(run, tmp_path):
    before = run().fitted
    image = IMAGE.copy()
    dev_rows = run(splits=["dev"])
    back = dev_rows.split("dev").fields["image:field"] * before["d.image.std"] + before["d.image.mean"]
    for b in back:
        image[np.argmin(np.abs(IMAGE - b).sum(axis=(1, 2, 3)))] = 0
    assert (image != IMAGE).any()
    np.savez(tmp_path / "a.npz", image=image, label=LABEL)
    after = run()
    assert all((after.fitted[name] == before[name]).all() for name in before)
    assert not np.array_equal(after.split("dev").fields["image:field"], dev_rows.split("dev").fields["image:field"])


def test_saved_constants_are_used(run):
    ones = {name: np.full((1, 2, 3), v, np.float32) for name, v in (("d.image.mean", 1), ("d.image.std", 2))}
    dataset = run(fitted=ones | {"net.w": np.zeros(3)}, splits=["dev"])
    assert list(dataset.splits) == ["dev"] and set(dataset.fitted) == set(ones)
    back = dataset.split("dev").fields["image:field"] * 2 + 1
    assert np.array_equal(back, np.round(back)) and back.max() > 200


@pytest.mark.parametrize("bad", [{}, {"d.image.std": np.ones((2, 3), np.float32)}, {"d.image.std": np.ones((1, 2, 3))}])
def test_saved_constants_that_do_not_fit(run, bad):
    with pytest.raises(DataError, match=r"d\.image\.std"):
        run(fitted={"d.image.mean": np.zeros((1, 2, 3), np.float32)} | bad)


@pytest.mark.parametrize(
    ("shape", "axes"), [([], (0, 1, 2, 3)), ([1, 1, 1], (0, 1, 2, 3)), ([1, 2, 1], (0, 1, 3)), ([3], (0, 1, 2))]
)
def test_statistics_over_more_than_examples(run, shape, axes):
    made = plan() | {"fitted": fitted(shape)}
    made["splits"] = made["splits"][:1]
    # A graph that accepts any shape of constant: broadcasting does the rest.
    loose = onnx.load_from_string(prepare_model())
    for item in list(loose.graph.input)[2:]:
        del item.type.tensor_type.shape.dim[:]
        item.type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=d) for d in shape)
    dataset = run(made, loose.SerializeToString())
    raw = IMAGE.astype(np.float64)
    np.testing.assert_allclose(dataset.fitted["d.image.mean"], raw.mean(axis=axes).reshape(shape), rtol=1e-6)
    np.testing.assert_allclose(dataset.fitted["d.image.std"], raw.std(axis=axes).reshape(shape), rtol=1e-6)


def test_a_shape_that_cannot_be_fitted(run):
    with pytest.raises(DataError, match=r"declared f32\[1, 5, 3\].*\[1, 2, 3\]"):
        run(plan() | {"fitted": fitted([1, 5, 3])})


def test_fitting_is_stable_far_from_zero():
    from dlc.runtime.data.fit import Moments

    values = 1e8 + RNG.normal(size=(10_000, 3))
    moments = Moments()
    for at in range(0, len(values), 37):
        moments.add(values[at : at + 37])
    np.testing.assert_allclose(np.sqrt(moments.squares / moments.n), values.std(axis=0), rtol=1e-9)


def test_the_cache_is_used_and_is_the_same(run, no_graphs):
    first = run()
    no_graphs()
    second = run()
    for name, split in first.splits.items():
        for field, array in split.fields.items():
            assert np.array_equal(array, second.split(name).fields[field]) and isinstance(array, np.memmap)
    assert first.data_hash == second.data_hash
    assert all((first.fitted[k] == second.fitted[k]).all() for k in first.fitted)
    run(fitted=first.fitted, splits=["dev"])  # what eval of a saved run asks for is the same entry


@pytest.mark.parametrize("how", ["flip", "short", "header", "index", "gone", "text"])
def test_a_damaged_cache_is_made_again(run, tmp_path, how):
    first = {n: {f: a.copy() for f, a in s.fields.items()} for n, s in run().splits.items()}
    for entry in (tmp_path / "cache" / "prepared").iterdir():
        file = entry / "0.npy"
        data = bytearray(file.read_bytes())
        match how:
            case "flip":
                data[-1] ^= 1
                file.write_bytes(data)
            case "short":
                file.write_bytes(data[:-1])
            case "header":
                file.write_bytes(b"\0" + data[1:])
            case "index":
                (entry / "index.json").write_text('{"arrays": {"image:field": 3}}')
            case "gone":
                file.unlink()
            case "text":
                shutil.rmtree(entry)
                entry.write_text("not a folder")
    again = run()
    for name, fields in first.items():
        for field, array in fields.items():
            assert np.array_equal(array, again.split(name).fields[field])
    assert any("damaged" in note for note in run.said)
    run.said.clear()
    run()
    assert run.said == []


def test_other_data_or_graph_is_another_entry(run, tmp_path):
    first = run()
    np.savez(tmp_path / "a.npz", image=255 - IMAGE, label=LABEL)
    second = run()
    assert first.data_hash != second.data_hash
    assert not np.array_equal(first.split("train").fields["image:field"], second.split("train").fields["image:field"])


def test_a_cache_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    dataset = run(cache=tmp_path / "file")
    assert any("keeping the data in memory" in note for note in run.said)
    same = run()
    assert np.array_equal(dataset.split("train").fields["image:field"], same.split("train").fields["image:field"])
    assert not dataset.split("train").fields["image:field"].flags.writeable


def test_a_full_disk_keeps_the_data_in_memory(run, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert len(run().split("train")) == 40
    assert any("No space left" in note for note in run.said)
    assert list((tmp_path / "cache" / "prepared").iterdir()) == []


def test_progress_and_origins(run):
    seen = []
    dataset = run(progress=lambda *what: seen.append(what))
    assert ("preparing dev", 10, 10) in seen and ("fitting on train", 40, 40) in seen
    assert all(source.endswith("a.npz") and licence is None for source, licence in dataset.origins.items())


def test_splits_asked_for(run):
    assert list(run(splits=["dev", "dev"]).splits) == ["dev"]
    with pytest.raises(DataError, match=r"no split `test`; .*dev, train"):
        run(splits=["test"])
    with pytest.raises(DataError, match="no split `train` was loaded"):
        run(splits=["dev"]).split("train")
    with pytest.raises(DataError, match="expected the name of a split"):
        run(splits=[])
    made = plan()
    made["splits"][0]["name"] = made["splits"][1]["of"] = "all"
    with pytest.raises(DataError, match="fitted on the split `train`"):
        run(made)


def test_graphs_that_do_not_match(run):
    with pytest.raises(DataError, match="cannot be loaded"):
        run(first=b"not a model")
    with pytest.raises(DataError, match="no output `size`"):
        run(plan() | {"fields": {"size": {"dtype": "f32", "shape": []}}})
    with pytest.raises(DataError, match="reads `label`"):
        run(plan() | {"records": {"image": {"dtype": "u8", "shape": [1, 2, 3]}}})
    wrong = plan()
    wrong["fields"]["image:field"]["shape"] = [6]
    with pytest.raises(DataError, match=r"example 0.*`image:field` is f32\[1, 2, 3\], but f32\[6\]"):
        run(wrong)


def test_constants_without_a_graph_to_fit_them(run, tmp_path):
    with pytest.raises(DataError, match="no graph to fit"):
        prepare(plan(), prepare_model(), None, tmp_path, cache=tmp_path / "cache")


def test_an_example_that_fails_is_named(run, tmp_path):
    gather = model(
        [helper.make_node("Gather", ["table", "label"], ["image:field"])],
        [value("label", L, [])], [value("image:field", F, [])], {"table": np.zeros(3, np.float32)},
    )  # fmt: skip
    made = plan() | {"fields": {"image:field": {"dtype": "f32", "shape": []}}, "fitted": {}}
    made["splits"] = made["splits"][:1]
    np.savez(tmp_path / "a.npz", image=IMAGE, label=np.where(np.arange(50) == 33, 9, LABEL))
    with pytest.raises(DataError, match=r"a\.npz, example 33"):
        run(made, gather)


def test_a_nan_is_named(run, tmp_path):
    log = model(
        [helper.make_node("Cast", ["label"], ["f"], to=F), helper.make_node("Log", ["f"], ["image:field"])],
        [value("label", L, [])], [value("image:field", F, [])],
    )  # fmt: skip
    made = plan() | {"fields": {"image:field": {"dtype": "f32", "shape": []}}, "fitted": {}}
    made["splits"] = made["splits"][:1]
    np.savez(tmp_path / "a.npz", image=IMAGE, label=np.where(np.arange(50) == 41, -1, 1))
    with pytest.raises(DataError, match=r"example 41.*`image:field` is not a number"):
        run(made, log)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DLC_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("DLC_CACHE")
    assert cache_folder() == tmp_path / "b" / "dlc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().is_absolute() and "dlc" in cache_folder().parts
