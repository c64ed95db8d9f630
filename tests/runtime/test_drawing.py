"""Pictures of nets: what is drawn, and that nothing lies on anything else."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from dlc.compiler.build import Builder, op
from dlc.compiler.program import Program
from dlc.compiler.types import Type
from dlc.runtime.drawing.layout import Layout, Size, layout
from dlc.runtime.drawing.operators import MOST, graph_picture, step_operators
from dlc.runtime.drawing.picture import Group, Picture
from dlc.runtime.drawing.stages import net_picture
from dlc.runtime.drawing.step import step_picture
from dlc.runtime.drawing.svg import svg
from dlc.runtime.errors import InputError

SPECS = Path(__file__).parents[2] / "specs"
EXAMPLES = Path(__file__).parents[1] / "fixtures" / "examples"
NETS = ["inception:googlenet", "resnet:resnet50", "transformer:transformer", "vgg16:vgg16", "facenet:facenet"]
SVG = "{http://www.w3.org/2000/svg}"


def net(name: str) -> Picture:
    file, _, which = name.partition(":")
    return net_picture(Program.open(EXAMPLES / f"{file}.net").net(which))


def names(picture: Picture) -> list[str]:
    return [box.lines[0] for box in picture.boxes]


def flows(picture: Picture) -> set[tuple[str, str]]:
    labels = names(picture)
    return {(labels[edge.source], labels[edge.target]) for edge in picture.edges}


def placed(picture: Picture) -> tuple[list[Size], Layout]:
    sizes = [Size(90.0, 50.0, 45.0) for _ in picture.boxes]
    edges = [(edge.source, edge.target) for edge in picture.edges]
    return sizes, layout(sizes, [box.group for box in picture.boxes], edges)


# -------------------------------------------------------------------------------------------------------- stages


def test_lenet_is_a_chain() -> None:
    picture = net_picture(Program.open(SPECS / "lenet.net").net("lenet"))
    assert names(picture) == [
        "image", "conv", "tanh", "avg_pool(2)", "conv2", "tanh", "avg_pool(2)", "conv3", "tanh", "flatten", "linear",
        "tanh", "linear2", "logits",
    ]  # fmt: skip
    assert {(edge.source, edge.target) for edge in picture.edges} == set(pairwise(range(14)))
    assert picture.boxes[1].lines == ("conv", "[B, 6, 28, 28]", "156 weights")
    kinds = [box.kind for box in picture.boxes[:4]]
    assert kinds == ["data", "convolution", "activation", "pooling"]


def test_branches_meet_again() -> None:
    picture = net("inception:googlenet")
    (first,) = {box.group for box in picture.boxes if box.group is not None and box.group.label == "inception"}
    inside = {number for number, box in enumerate(picture.boxes) if box.group is first}
    entering = {edge.target for edge in picture.edges if edge.target in inside and edge.source not in inside}
    (end,) = {n for n in inside if picture.boxes[n].lines[0].startswith("concat")}
    assert len(entering) == 4
    assert sum(edge.target == end for edge in picture.edges) == 4


def test_turns_that_are_alike_are_drawn_once() -> None:
    picture = net("resnet:resnet50")
    notes = {box.group.note for box in picture.boxes if box.group is not None}
    around = {group for box in picture.boxes for group in _around(box.group)}
    times = sorted(group.note for group in around if group.note)
    assert notes <= {""} | set(times)
    assert [note[-1] for note in times] == ["2", "2", "3", "5"]  # 3, 4, 6, 3 bottlenecks, the first of each another
    assert names(picture).count("conv") == 1 + 4 * 4 + 4 * 3
    assert ("Add, Relu", "conv") in flows(picture)


def test_what_all_turns_share_does_not_hide_that_they_are_alike() -> None:
    picture = net("transformer:transformer")
    around = {group for box in picture.boxes for group in _around(box.group)}
    repeated = {group.label: group.note[-1] for group in around if group.note}
    assert repeated == {"encoder[0..5].encoder_layer": "6", "decoder[0..5].decoder_layer": "6"}


def test_turns_that_differ_are_all_drawn() -> None:
    text = (
        "net tower {\n  input x: f32[B, 8]\n"
        "  return x -> for n in [4, 4, 2] { Linear(n) -> relu }\n}\n"
    )  # fmt: skip
    picture = net_picture(Program.of_text(text).net("tower"))
    weights = [box.lines[-1] for box in picture.boxes if box.kind == "linear"]
    assert weights == ["36 weights", "20 weights", "10 weights"]


TWICE = """
{block}
data pairs {{
  train = npz("pairs.npz")
  a: f32[1, 8, 8] = raw.a
  b: f32[1, 8, 8] = raw.b
}}

net twice {{
  input a: f32[B, 1, 8, 8], b: f32[B, 1, 8, 8]
  tower = {tower}
  y = tower(a) + tower(b)
  return y
}}

train twice on pairs {{
  loss = mean(square(y)) + l2(twice)
  optimizer = SGD(lr=0.1)
}}
"""


def twice(tower: str, block: str = "") -> Program:
    return Program.of_text(TWICE.format(tower=tower, block=block))


STAGE = "block Stage(c) = Conv(c, 3, pad=1) -> BatchNorm -> relu"
NORMED = """
block Normed {
  input x
  param w: f32[8, 3] = glorot
  return x @ (w -> l2_normalize(axis=0)) -> relu
}
"""


@pytest.mark.parametrize(
    ("tower", "block", "boxes"),
    [("Conv(4, 3)", "", ["tower"]), ("Stage(4)", STAGE, ["conv", "batch_norm", "relu"])],
)
def test_one_instance_applied_twice_is_two_branches(tower: str, block: str, boxes: list[str]) -> None:
    """A bias is brought into shape once for both, and is no data that goes from one to the other."""
    program = twice(tower, block)
    labels, size = ["a", "b", *boxes, *boxes], len(boxes)
    chains = [[0, *range(2, 2 + size)], [1, *range(2 + size, 2 + 2 * size)]]
    forward = {pair for chain in chains for pair in pairwise(chain)}
    inside = {(source, target) for source, target in forward if source > 1}

    picture = net_picture(program.net("twice"))
    assert names(picture) == [*labels, "Add", "y"]
    ends = {(edge.source, edge.target) for edge in picture.edges}
    last = len(labels)
    assert ends == forward | {(chains[0][-1], last), (chains[1][-1], last), (last, last + 1)}

    step = step_picture(program, "twice")
    assert names(step) == [*labels, "loss", "Add"]
    assert {(edge.target, edge.source) for edge in step.returns if edge.source < last} == inside
    assert len(step.updates) == len([box for box in step.boxes if box.lines[-1].endswith(" weights")])


def test_shared_weights_are_counted_once_and_marked() -> None:
    picture = net_picture(twice("Conv(4, 3)").net("twice"))
    assert [box.lines[2:] for box in picture.boxes] == [(), (), ("40 weights",), ("weights shared",), (), ()]


def test_what_is_computed_of_weights_in_a_box_of_its_own_is_drawn() -> None:
    text = NORMED + "net n {\n  input x: f32[B, 8]\n  return x -> Normed\n}\n"
    picture = net_picture(Program.of_text(text).net("n"))
    assert ("l2_normalize(axis=0)", "MatMul") in flows(picture)


@pytest.mark.parametrize("name", NETS)
def test_all_weights_are_shown(name: str) -> None:
    """Each box shows its own; what stands for several turns counts as often."""
    program = Program.open(EXAMPLES / f"{name.partition(':')[0]}.net")
    unit = program.net(name.partition(":")[2])
    total = 0
    for box in net_picture(unit).boxes:
        if box.lines[-1].endswith((" weight", " weights")):
            times = 1
            for group in _around(box.group):
                times *= int(group.note.split()[-1]) if group.note else 1
            total += times * int(box.lines[-1].split()[0].replace(",", ""))
    expected = 0
    read = unit.graph.uses()
    for address, type in unit.weights.items():
        assert isinstance(type.size, int)
        expected += type.size if address in unit.graph.input_names and unit.graph.input(address) in read else 0
    assert total == expected


def _around(group: Group | None) -> list[Group]:
    found = []
    while group is not None:
        found.append(group)
        group = group.parent
    return found


# ------------------------------------------------------------------------------------------------------ gradient


def test_the_gradient_mirrors_the_forward_pass() -> None:
    picture = step_picture(Program.open(SPECS / "lenet.net"), "lenet")
    labels = names(picture)
    forward = {(edge.source, edge.target) for edge in picture.edges}
    assert picture.returns
    assert {(edge.target, edge.source) for edge in picture.returns} <= forward
    assert {labels[n] for n in picture.gradients} == set(labels) - {"image", "label", "metrics"}
    assert [labels[n] for n in picture.updates] == ["conv", "conv2", "conv3", "linear", "linear2"]
    tanh = picture.gradients[labels.index("tanh")]
    assert tanh.lines == ("∂ tanh", "Mul, Sub")  # g * (1 - y * y)
    assert "ConvInputGrad" not in picture.gradients[labels.index("conv")].hover  # nobody wants that of the data
    assert "ConvInputGrad" in picture.gradients[labels.index("conv2")].hover
    assert "its input" in picture.reads[labels.index("linear")]
    assert labels.index("avg_pool(2)") not in picture.reads  # linear: its gradient reads nothing
    assert picture.aside is not None
    assert "Adam" in picture.aside.hover


def test_a_long_optimizer_ends_in_an_ellipsis_and_augmentation_is_random() -> None:
    program = Program.open(EXAMPLES / "resnet.net")
    picture = step_picture(program, next(iter(program.runs)))
    assert picture.aside is not None
    assert len(picture.aside.lines) == 4 and picture.aside.lines[-1].endswith(" …")
    assert "weight_decay" in picture.aside.hover, "the whole of it is seen under the mouse"
    kinds = {box.lines[0]: box.kind for box in picture.boxes}
    assert kinds["random_resized_crop(224)"] == kinds["random_flip"] == "random"


def test_what_is_detached_has_no_gradient() -> None:
    text = (SPECS / "lenet.net").read_text().replace("-> flatten", "-> detach -> flatten")
    picture = step_picture(Program.of_text(text, str(SPECS / "lenet.net")), "lenet")
    labels = names(picture)
    backward = {edge.source for edge in picture.returns} | {edge.target for edge in picture.returns}
    assert labels.index("flatten") not in backward
    assert labels.index("linear") in picture.gradients


def test_operators_of_a_step_in_three_parts() -> None:
    picture = step_operators(Program.open(SPECS / "mlp.net").step("mlp"))
    parts = {box.group.label for box in picture.boxes if box.group is not None}
    assert parts == {"forward", "gradient", "update"}
    place = {"forward": 0, "gradient": 1, "update": 2}
    for edge in picture.edges:
        source, target = picture.boxes[edge.source].group, picture.boxes[edge.target].group
        if source is not None and target is not None:
            assert place[source.label] <= place[target.label]


# -------------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("name", NETS)
def test_no_boxes_overlap_and_groups_hold_their_own(name: str) -> None:
    picture = net(name)
    sizes, found = placed(picture)
    rectangles = [(x, y, x + s.width, y + s.height) for (x, y), s in zip(found.boxes, sizes, strict=True)]
    for index, one in enumerate(rectangles):
        for other in rectangles[:index]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
    frames = {frame.group: frame for frame in found.frames}
    for box, (left, top, right, bottom) in zip(picture.boxes, rectangles, strict=True):
        for group, frame in frames.items():
            inside = frame.x <= left and right <= frame.x + frame.width
            inside = inside and frame.y <= top and bottom <= frame.y + frame.height
            outside = right <= frame.x or left >= frame.x + frame.width
            outside = outside or bottom <= frame.y or top >= frame.y + frame.height
            assert inside if group in _around(box.group) else outside


@pytest.mark.parametrize("name", NETS)
def test_edges_join_their_boxes_and_cross_no_other(name: str) -> None:
    picture = net(name)
    sizes, found = placed(picture)
    for edge, path in zip(picture.edges, found.paths, strict=True):
        (sx, sy), (tx, ty) = found.boxes[edge.source], found.boxes[edge.target]
        assert path[0] == pytest.approx((sx + 45.0, sy + 50.0))
        assert tx < path[-1][0] < tx + 90.0
        assert path[-1][1] == pytest.approx(ty)
        for (x0, y0), (x1, y1) in pairwise(path):
            for number, ((left, top), size) in enumerate(zip(found.boxes, sizes, strict=True)):
                if number not in (edge.source, edge.target):
                    beside = max(x0, x1) <= left or min(x0, x1) >= left + size.width
                    assert beside or max(y0, y1) <= top or min(y0, y1) >= top + size.height


def test_a_cycle_is_drawn_all_the_same() -> None:
    size = Size(50.0, 30.0, 25.0)
    found = layout([size] * 3, [None] * 3, [(0, 1), (1, 2), (2, 0)])
    assert len({y for _, y in found.boxes}) == 3
    assert all(len(path) >= 2 for path in found.paths)


def test_depth_takes_no_recursion() -> None:
    size = Size(50.0, 30.0, 25.0)
    found = layout([size] * 3000, [None] * 3000, list(pairwise(range(3000))))
    assert found.boxes[-1][1] > found.boxes[0][1]


def test_nothing_is_laid_out_too() -> None:
    assert layout([], [], []).boxes == []


# ----------------------------------------------------------------------------------------------------------- SVG


@pytest.mark.parametrize("name", NETS)
def test_svg_is_well_formed_and_whole(name: str) -> None:
    picture = net(name)
    root = ET.fromstring(svg(picture))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    texts = {each.text for each in root.iter(f"{SVG}text")}
    assert {line for box in picture.boxes for line in box.lines} <= texts
    (shifted,) = [each for each in root.iter(f"{SVG}g") if "transform" in each.attrib]
    dx, dy = (float(each) for each in shifted.attrib["transform"][10:-1].split())
    for each in shifted.iter(f"{SVG}rect"):
        left = float(each.attrib["x"]) + dx
        assert left >= 0
        assert left + float(each.attrib["width"]) <= width
        assert float(each.attrib["y"]) + dy + float(each.attrib["height"]) <= height
    assert "http" not in svg(picture).replace("http://www.w3.org/2000/svg", "")


def test_names_are_escaped() -> None:
    with Builder() as builder:
        x = builder.input('a<b> & "c"', Type("f32", (2,)))
        graph = builder.graph("g", {"y": op.Tanh(x)})
    assert 'a<b> & "c"' in {each.text for each in ET.fromstring(svg(graph_picture(graph))).iter(f"{SVG}text")}


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import sys, hashlib; from pathlib import Path; from dlc.compiler.program import Program;"
        "from dlc.runtime.drawing.svg import svg; from dlc.runtime.drawing.step import step_picture;"
        "print(hashlib.sha256(svg(step_picture(Program.open(Path(sys.argv[1])), 'mlp')).encode()).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(SPECS / "mlp.net")]
    seeds = [
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert len(set(seeds)) == 1
    assert len(seeds[0].strip()) == 64


def test_too_many_operators_are_refused() -> None:
    with Builder() as builder:
        value = builder.input("x", Type("f32", (4,)))
        for _ in range(MOST + 1):
            value = op.Tanh(value)
        graph = builder.graph("long", {"y": value})
    with pytest.raises(InputError, match="1,501 operators"):
        graph_picture(graph)
