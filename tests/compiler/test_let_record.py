"""The values of `let`s, as the manifest records them."""

from dlc.compiler.manifest import read
from dlc.compiler.products import unit_model
from dlc.compiler.program import Program

TEXT = """let stages = [(1, 2), (3, 4)]

net n {
  input x: f32[B, 3]
  return x -> for a, b in stages { Linear(a * b) }
}
"""


def test_a_list_of_pairs_reads_back() -> None:
    program = Program.of_text(TEXT)
    source = read(unit_model(program, program.net("n"))).source
    assert source is not None and source.lets == {"stages": [[1, 2], [3, 4]]}
