"""From a file to its graphs: `Program.open(path)` reads, `.step(run)` and its sisters elaborate one graph each.

Every graph is elaborated afresh in its own mode, so that nothing of training can leak into inference. All mistakes of
a file come out together as one SourceError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlc.compiler import net_units, outcome, run_units, watch
from dlc.compiler.elaborate import borrowing, expressions
from dlc.compiler.elaborate.circles import circles
from dlc.compiler.elaborate.context import Exhausted, Mode
from dlc.compiler.elaborate.problems import Problem, Report
from dlc.compiler.elaborate.search import Search, Space, search_of, space_of
from dlc.compiler.elaborate.settings import check_settings
from dlc.compiler.elaborate.successors import check_successors
from dlc.compiler.lets import override
from dlc.compiler.unit import Unit, elaborator, fail, outermost, position
from dlc.dsl import ast, modules
from dlc.dsl.diagnostics import Diagnostic, SourceError

PLAIN = (int, float, str, list, tuple, type(None))
"""What a `let` can be for the record."""

PRELUDE = Path(__file__).parent / "prelude"


@lru_cache(maxsize=1)
def library() -> modules.Program:
    """The standard library's own text, parsed."""
    return modules.load_library(sorted(PRELUDE.glob("*.net")))


class Program:
    """A `.net` file with all that it uses, and the values of its `let`s."""

    def __init__(self, program: modules.Program, lets: Mapping[str, str], text: str) -> None:
        self.source = program
        self.sources = {**library().sources, **program.sources}
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.lets: dict[str, Any] = {}
        self.lets = override(self, lets)

    @classmethod
    def open(cls, path: Path, lets: Mapping[str, str] | None = None, sources: dict[str, str] | None = None) -> Program:
        """Read a file. `lets` are the texts of `--set name=value`. Raises SourceError."""
        texts: dict[str, str] = {} if sources is None else sources
        program = modules.load(path, texts)
        return cls(program, lets or {}, texts[program.main.file])

    @classmethod
    def of_text(cls, text: str, file: str = "text.net", lets: Mapping[str, str] | None = None) -> Program:
        """A program from text. Raises SourceError."""
        return cls(modules.load_text(text, file), lets or {}, text)

    # ------------------------------------------------------------------------------------ what there is

    def declared(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.source.main.source.declarations if isinstance(each, kind)]

    @property
    def runs(self) -> dict[str, ast.Train]:
        return {each.run.text: each for each in self.declared(ast.Train)}

    @property
    def nets(self) -> dict[str, ast.Net]:
        """The nets that the file declares or its runs train."""
        own = {each.name.text: each for each in self.declared(ast.Net)}
        trained = {each.net.text: self.source.main.scope.get(each.net.text) for each in self.runs.values()}
        return own | {name: each for name, each in trained.items() if isinstance(each, ast.Net)}

    @property
    def infers(self) -> dict[str, ast.Infer]:
        """The `infer` sections of the file."""
        return {each.name.text: each for each in self.declared(ast.Infer)}

    @property
    def datas(self) -> dict[str, ast.Data]:
        """The data sections that the file declares or its runs use."""
        own = {each.name.text: each for each in self.declared(ast.Data)}
        used = {each.data.text: self.source.main.scope.get(each.data.text) for each in self.runs.values()}
        return own | {name: each for name, each in used.items() if isinstance(each, ast.Data)}

    def borrowed(self) -> list[Path]:
        """The files of all graphs that the program imports."""
        return [path for module in self.source.modules.values() for path in borrowing.files_of(module)]

    def let_values(self) -> dict[str, Any]:
        """Every `let` of the file with its value, for the record."""
        e = elaborator(self, Mode())
        with e:
            values = {}
            for let in self.declared(ast.Let):
                frame = outermost(self, let.name.text, let.span)
                values[let.name.text] = expressions.evaluate(e, ast.Ref(let.name.text, span=let.name.span), frame)
        fail(e)
        return {name: _plain(value) for name, value in values.items() if isinstance(value, PLAIN)}

    def searches(self) -> tuple[dict[str, Search], dict[str, Space]]:
        """The search sections by run, and the spaces of the `let`s. Raises SourceError."""
        e = elaborator(self, Mode())
        spaces: dict[str, Space] = {}
        found: dict[str, Search] = {}
        with e:
            for let in self.declared(ast.Let):
                try:
                    space = space_of(e, let, outermost(self, let.name.text, let.span))
                except Problem as problem:
                    e.report.add(problem, let.span)
                else:
                    spaces |= {let.name.text: space} if space is not None else {}
            for section in self.declared(ast.Search):
                try:
                    found[section.name.text] = search_of(e, section, self.runs, spaces)
                except Problem as problem:
                    e.report.add(problem, section.span)
        fail(e)
        return found, spaces

    # ---------------------------------------------------------------------------------------- the graphs

    def check(self) -> tuple[Diagnostic, ...]:
        """Elaborate everything; returns the warnings. Raises SourceError with every mistake, each once."""
        found: dict[Diagnostic, None] = {}
        report = Report()
        attempts: list[tuple[Callable[[str], Unit | tuple[Unit, Unit]], Iterable[str]]] = [
            (self.prepare, self.datas),
            (self.net, self.nets),
            (self.inference, self.infers),
            (self.step, self.runs),
            (self.evaluation, self.runs),
            (self.init, self.runs),
        ]
        for problem, span in circles(self.source.modules.values()):
            report.add(problem, span)
        if report.failed:
            raise SourceError(*report.diagnostics)
        for look in (self.let_values, self.searches):
            try:
                look()
            except Exhausted:
                raise
            except SourceError as error:
                found.update(dict.fromkeys(error.diagnostics))
        check_settings(self.source.main, library().main, report)
        for module in self.source.modules.values():
            check_successors(module, report)
        found.update(dict.fromkeys(report.diagnostics))
        for attempt, names in attempts:
            for name in names:
                try:
                    made = attempt(name)
                except Exhausted:
                    raise  # the other graphs of the file would take as long
                except SourceError as error:
                    found.update(dict.fromkeys(error.diagnostics))
                else:
                    found.update(dict.fromkeys((made[0] if isinstance(made, tuple) else made).warnings))
        errors = {(each.code, each.primary.span): each for each in reversed(found) if each.severity == "error"}
        if errors:
            raise SourceError(*sorted(errors.values(), key=position))
        return tuple(found)

    def net(self, name: str, working: str = "f32") -> Unit:
        """The inference graph of a net. Raises SourceError."""
        return net_units.net(self, name, working)

    def inference(self, name: str) -> Unit:
        """The graph of an `infer` section over the weights of nets. Raises SourceError."""
        return net_units.inference(self, name)

    def step(self, name: str, working: str = "f32") -> Unit:
        """The training step of a run: forward, gradients, optimizer, states. Raises SourceError."""
        return run_units.step(self, name, working)

    def gradients(self, name: str, working: str = "f32") -> Unit:
        """The first half of a divided step. Raises SourceError."""
        return run_units.gradients(self, name, working)

    def application(self, name: str) -> Unit:
        """The second half of a divided step: the optimizer, given gradients. Raises SourceError."""
        return run_units.application(self, name)

    def init(self, name: str) -> Unit:
        """The graph that makes every carried value of a run from a seed. Raises SourceError."""
        return run_units.init(self, name)

    def evaluation(self, name: str) -> tuple[Unit, Unit]:
        """The sums and counts of one batch, and what makes the loss and metrics of their totals. Raises SourceError."""
        return run_units.evaluation(self, name)

    def watch(self, name: str) -> Unit:
        """The step of a run with the norms of its activations, gradients and updates as outputs. Raises SourceError."""
        return watch.watch(self, name)

    def outcome(self, name: str) -> outcome.Outcome:
        """What a run predicts of each example, to be compared with what is true. Raises SourceError."""
        return outcome.outcome(self, name)

    def prepare(self, name: str) -> Unit:
        """The graph from one decoded record to the fields of an example, with the host's plan. Raises SourceError."""
        return net_units.data_units(self, name)[0]

    def fit(self, name: str) -> Unit | None:
        """The graph from one record to the values whose statistics are fitted; None where nothing is."""
        return net_units.data_units(self, name)[1]


def _plain(value: Any) -> Any:
    """A value as JSON has it: a tuple is a list there."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


__all__ = ["Program", "Unit", "library"]
