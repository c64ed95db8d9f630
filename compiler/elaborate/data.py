"""The `data` section: splits that the host reads, and the fields of one example as a graph over a decoded record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dlc.compiler.build import op, private
from dlc.compiler.elaborate import bodies, expressions
from dlc.compiler.elaborate.context import Elaborator, Frame
from dlc.compiler.elaborate.entities import (
    POISON,
    Binding,
    Instance,
    PictureFile,
    Place,
    Reader,
    Scope,
    describe,
)
from dlc.compiler.elaborate.kinds import Count, Floats
from dlc.compiler.elaborate.library import function, tensor_of
from dlc.compiler.elaborate.names import unknown
from dlc.compiler.elaborate.problems import Problem
from dlc.compiler.elaborate.splits import splits_of
from dlc.compiler.graph import Value, topological
from dlc.compiler.types import FLOATS, INTEGERS, Type, symbol
from dlc.dsl import ast
from dlc.dsl.diagnostics import Label, nearest
from dlc.dsl.modules import Module


@dataclass(frozen=True, slots=True)
class Field:
    """A field of one example, as declared."""

    name: str
    type: Type
    span: ast.Span


@dataclass
class Plan:
    """What the host has to do for a data section; see `dlc.runtime.data`."""

    splits: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, Type] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    fields: dict[str, Type] = field(default_factory=dict)
    fitted: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)
    """The records that are picture files, which the host decodes."""

    def json(self) -> dict[str, Any]:
        """As it stands in the manifest of `prepare`."""

        def typed(type: Type) -> dict[str, Any]:
            return {"dtype": type.dtype, "shape": [dim if isinstance(dim, int) else str(dim) for dim in type.shape]}

        return {
            "splits": self.splits,
            "records": {name: typed(type) for name, type in self.records.items()},
            "columns": self.columns,
            "fields": {name: typed(type) for name, type in self.fields.items()},
            "fitted": self.fitted,
            **({"pictures": self.pictures} if self.pictures else {}),
        }


def frame_of(data: ast.Data, module: Module) -> Frame:
    owner = Instance(None, Place((data.name.text,)), data.span, text=data.name.text)
    return Frame(module, Scope(), owner, owner.place)


def fields(e: Elaborator, data: ast.Data, module: Module) -> dict[str, Field]:
    """The declared fields of one example, without evaluating how they are made; problems are reported."""
    frame = frame_of(data, module)
    found: dict[str, Field] = {}
    for statement in data.body:
        if not isinstance(statement, ast.Field):
            continue
        name = statement.name.text
        try:
            if name in RESERVED:
                problem = Problem("E0602", f"a field cannot be called `{name}`", "the training step has that itself")
                e.report.add(problem, statement.name.span)
            elif name in found:
                first = (Label(found[name].span, "first given here"),)
                raise Problem("E0202", f"`{name}` is given twice", span=statement.name.span, secondary=first)
            found[name] = Field(name, _declared(e, statement.type, frame), statement.type.span)
        except Problem as problem:
            e.report.add(problem, statement.span)
    return found


RESERVED = ("step", "seed", "epoch", "steps", "steps_per_epoch", "loss", "finite")


def _declared(e: Elaborator, declared: ast.TypeExpr, frame: Frame) -> Type:
    """A field's type; a capital name is a dimension that differs from example to example, padded by the loader."""
    for dim in declared.dims or ():
        if isinstance(dim, ast.Ref) and dim.name == "B":
            text = "a field has no dimension `B`: that is the batch, which the loader adds"
            raise Problem("E0602", text, "call this one by another name", span=dim.span)
        if isinstance(dim, ast.Ref) and dim.name[0].isupper() and dim.name not in frame.dims:
            frame.dims[dim.name] = (symbol(dim.name), dim.span)
    return bodies.resolve(e, declared, frame)


class Records:
    """What `raw` is: the decoded record, each part an input of the graph where it is first read."""

    def __init__(self, plan: Plan, reader: Reader | None) -> None:
        self.plan = plan
        self.reader = reader
        self.feeds: Field | None = None
        self.feeds_address = ""
        self.inputs: dict[str, Value] = {}
        self.fitting: dict[str, Value] = {}

    def read(self, e: Elaborator, name: ast.Name) -> Value | PictureFile:
        """`raw.name`. An integer that feeds a float field is cast; raises Problem for what the reader does not give."""
        assert self.feeds is not None
        signature = None
        if self.reader is not None and not self.reader.open:
            if name.text not in self.reader.fields:
                what = f"a record of `{self.reader.fn.name.text}`"
                raise unknown(name.text, self.reader.fields, name.span, what)
            signature = self.reader.fields[name.text]
        if signature.dims is None if signature is not None else name.text in self.plan.pictures:
            return PictureFile(name.text)
        if signature is not None and _is_picture(signature):
            return self._cast(self.picture(e, name.text, None))
        if name.text not in self.inputs:
            self.inputs[name.text] = self._input(e, name.text, self._type(e, name.text))
        return self._cast(self.inputs[name.text])

    def picture(self, e: Elaborator, name: str, channels: int | None) -> Value:
        """The decoded picture of a record, u8[channels, height, width] of sizes that differ from example to example.

        Without `channels`, those of the field: of [3, H, W] three, of [H, W] one; three where that does not say.
        """
        assert self.feeds is not None
        if channels is None:
            shape = self.feeds.type.shape
            channels = 1 if len(shape) == 2 else shape[0] if len(shape) == 3 and shape[0] in (1, 3, 4) else 3
        if name in self.inputs and name not in self.plan.pictures:
            # A column of a table that only now turns out to hold the names of files.
            e.builder.inputs.remove(self.inputs.pop(name))
        if name not in self.inputs:
            sides = symbol(f"{name}_height"), symbol(f"{name}_width")
            self.inputs[name] = self._input(e, name, Type("u8", (channels, *sides)))
            self.plan.pictures.append(name)
        return self.inputs[name]

    def decoded(self, e: Elaborator, name: str, channels: int | None = None) -> Value:
        """The picture of a record as `decode_image` gives it."""
        assert self.feeds is not None
        picture, dtype = self.picture(e, name, channels), self.feeds.type.dtype
        return op.Cast(picture, to=dtype) / 255.0 if dtype in FLOATS else picture

    def _cast(self, value: Value) -> Value:
        assert self.feeds is not None
        if value.dtype in INTEGERS and self.feeds.type.dtype in FLOATS:
            value = op.Cast(value, to=self.feeds.type.dtype)
        return value

    def _type(self, e: Elaborator, name: str) -> Type:
        assert self.feeds is not None
        if self.reader is None or self.reader.open:
            return self.feeds.type
        signature = self.reader.fields[name]
        assert signature.name is not None and signature.dims is not None
        if any(isinstance(dim, ast.Dots) for dim in signature.dims):
            # What the file holds is known when it is read: it has to be what the field says, up to leading 1s.
            return self.feeds.type.with_dtype(signature.name.text)
        return self.declared(e, name)

    def declared(self, e: Elaborator, name: str) -> Type:
        """The type of a record as its reader's signature has it; raises Problem."""
        assert self.reader is not None
        signature = self.reader.fields[name]
        frame = Frame(e.library, Scope(), Instance(None, Place(("raw",)), signature.span), Place(("raw",)))
        return bodies.resolve(e, signature, frame)

    def _input(self, e: Elaborator, name: str, type: Type) -> Value:
        self.plan.records[name] = type
        return e.builder.input(f"raw.{name}", type)

    def columns(self, e: Elaborator, names: tuple[Any, ...]) -> Value:
        """`columns("a", "b")`: columns of a table as one vector of the field's element type."""
        assert self.feeds is not None
        if not names or not all(isinstance(name, str) for name in names):
            raise Problem("E0302", '`columns` wants the names of columns: `columns("age", "fare")`')
        self.plan.columns[self.feeds.name] = list(names)
        return self._input(e, self.feeds.name, Type(self.feeds.type.dtype, (len(names),)))


def _is_picture(signature: ast.TypeExpr) -> bool:
    """Is a reader's record a picture of any size: `u8[C, H, W]`?"""
    dims = signature.dims or ()
    return bool(dims) and all(isinstance(dim, ast.Ref) and dim.name[0].isupper() for dim in dims)


@function("decode_image")
def decode_image(e: Elaborator, file: Any, channels: Count | None = None) -> Value:
    """The picture in a file of the record, [channels, height, width]: u8 in a u8 field, 0..1 in a field of floats."""
    if not isinstance(e.records, Records) or e.records.feeds is None:
        raise Problem("E0206", "`decode_image` reads a picture in a `data` section")
    if channels not in (None, 1, 3, 4):
        raise Problem("E0303", "a picture has 1, 3 or 4 channels", f"this is {channels}", argument="channels")
    name = file.record if isinstance(file, PictureFile) else ""
    if isinstance(file, Value) and (e.records.reader is None or e.records.reader.open):
        name = next((key for key, value in e.records.inputs.items() if value is file), "")
    if not name:
        help = "`raw.file` of a `folder`, or a column with names of files of a `csv`"
        raise Problem("E0302", "`decode_image` wants a file", f"this is {describe(file)}", help=help, argument="file")
    return e.records.decoded(e, name, channels)


@function("columns")
def columns(e: Elaborator, *names: Any) -> Value:
    """Columns of a table as one vector, in that order: `columns("age", "fare")`."""
    if not isinstance(e.records, Records) or e.records.feeds is None:
        raise Problem("E0206", "`columns` reads a table in a `data` section")
    return e.records.columns(e, names)


@function("standardize")
def standardize(e: Elaborator, x: Floats) -> Value:
    """(x - mean) / deviation over the training split, of each number of a vector, or each channel of a picture.

    The constants are fitted when data is prepared.
    """
    if not isinstance(e.records, Records) or e.records.feeds is None:
        raise Problem("E0206", "`standardize` belongs into a `data` section, where the training split is known")
    # Of a picture [C, H, W] each channel has its constants, each element of a vector.
    type = x.type.with_shape((*x.shape[:1], *[1] * (x.type.rank - 1)))
    if not type.is_static:
        raise Problem("E0303", "`standardize` wants a known number of channels", f"this is {x.type}")
    plan, base = e.records.plan, e.records.feeds_address
    needs = {each for node in topological([x]) for each in node.operands()} | {x}
    if any(e.builder.names.get(each) in plan.fitted for each in needs):
        raise Problem("E0303", "a value cannot be standardized twice", "it depends on fitted constants already")
    number = sum(name.startswith(f"{base}.mean") for name in plan.fitted) + 1
    suffix = "" if number == 1 else str(number)
    inputs = []
    for statistic in ("mean", "std"):
        address = f"{base}.{statistic}{suffix}"
        plan.fitted[address] = {
            "dtype": x.dtype,
            "shape": list(type.static_shape()),
            "statistic": statistic,
            "of": f"{base}:fit{suffix}",
        }
        inputs.append(e.builder.input(address, type))
    e.records.fitting[f"{base}:fit{suffix}"] = x
    return (x - inputs[0]) / inputs[1]


@function("normalize")
def normalize(e: Elaborator, x: Floats, mean: Any, std: Any) -> Value:
    """(x - mean) / std with given constants, one a channel: the channels are the first axis of `[C, H, W]`."""
    sides = []
    for name, numbers in (("mean", mean), ("std", std)):
        each = numbers if isinstance(numbers, list | tuple) else [numbers]
        wrong = [n for n in each if isinstance(n, bool) or not isinstance(n, int | float)]
        if wrong:
            text = f"`{name}` of `normalize` wants numbers, one for each channel or one for all"
            raise Problem("E0302", text, f"one is {describe(wrong[0])}", argument=name)
        low = [n for n in each if name == "std" and n <= 0]
        if low:
            raise Problem("E0303", "`std` of `normalize` wants numbers above 0", f"one is {low[0]}", argument=name)
        if len(each) != 1 and (not x.shape or len(each) != x.shape[0]):
            raise Problem("E0301", f"{len(each)} numbers for the channels of {x.type}", argument=name)
        constant = e.builder.constant([float(number) for number in each], x.dtype)
        sides.append(private.ReshapeTo(constant, shape=(len(each), *[1] * (x.type.rank - 1)) if x.shape else ()))
    return (x - sides[0]) / sides[1]


def prepare(e: Elaborator, data: ast.Data, module: Module) -> tuple[dict[str, Value], Plan]:
    """The fields as values over the record's inputs, and the plan for the host; problems are reported."""
    plan = Plan()
    declared = fields(e, data, module)
    plan.fields = {name: each.type for name, each in declared.items()}
    frame = frame_of(data, module)
    reader = splits_of(e, data, frame, plan.splits)
    e.records = Records(plan, reader)
    frame.scope.names["raw"] = Binding(e.records, data.span, used=True)
    outputs: dict[str, Value] = {}
    for statement in data.body:
        if not isinstance(statement, ast.Field) or statement.name.text not in declared:
            continue
        e.records.feeds = wanted = declared[statement.name.text]
        e.records.feeds_address = f"{data.name.text}.{wanted.name}"
        try:
            with e.builder.at(statement.span):
                if statement.value is None:
                    value: Any = e.records.read(e, statement.name)
                else:
                    value = expressions.evaluate(e, statement.value, frame)
                if isinstance(value, PictureFile):
                    help = f"`decode_image(raw.{value.record})`"
                    raise Problem("E0302", f"`{wanted.name}` is made of a file that is not decoded", help=help)
                if value is not POISON:
                    outputs[wanted.name] = _fitted_to(value, wanted, statement)
        except Problem as problem:
            e.report.add(problem, statement.span)
    for split in plan.splits:
        if split.get("by") is not None:
            _ordered_by(e, data, e.records, split["by"])
    return outputs, plan


def augment(e: Elaborator, source: ast.Data, module: Module, fields: dict[str, Value]) -> dict[str, Value]:
    """The fields as the training step sees them: a batch of each, changed at random; problems are reported.

    Here alone a name may be given again: `image = image -> random_flip`.
    """
    frame = frame_of(source, module)
    frame.scope.names.update({name: Binding(value, source.span, used=True) for name, value in fields.items()})
    changed = dict(fields)
    e.augmenting = True
    for section in source.body:
        if not isinstance(section, ast.Section) or section.name.text != "augment":
            continue
        for statement in section.body:
            if not isinstance(statement, ast.Assign):
                e.report.add(
                    Problem("E0206", "an `augment` section has lines such as `image = image -> f`"), statement.span
                )
                continue
            value = expressions.evaluate(e, statement.value, frame)
            values = [value] if len(statement.names) == 1 else value
            if value is POISON or not isinstance(values, list | tuple) or len(values) != len(statement.names):
                if value is not POISON:
                    text = f"{len(statement.names)} names for {describe(value)}"
                    e.report.add(Problem("E0302", text), statement.value.span)
                continue
            for name, each in zip(statement.names, values, strict=True):
                if name.text in fields and (not isinstance(each, Value) or each.type != fields[name.text].type):
                    text = f"`{name.text}` is {fields[name.text].type}, and would become {describe(each)}"
                    e.report.add(Problem("E0602", text), statement.value.span)
                    continue
                frame.scope.names[name.text] = Binding(each, name.span, used=name.text in fields)
                if name.text in fields:
                    changed[name.text] = each
    for given, binding in frame.scope.names.items():
        if not binding.used and binding.span is not None:
            guess = nearest(given, fields)
            label = f"did you mean `{guess}`?" if guess else ""
            notes = ("in an `augment` section a name is a field, or part of what becomes of one",)
            e.report.add(Problem("E0207", f"nothing uses `{given}`", label, notes=notes), binding.span)
    e.augmenting = False
    return changed


def _ordered_by(e: Elaborator, data: ast.Data, records: Records, name: str) -> None:
    """The record that a split is stratified by is read, whether or not a field is made of it."""
    if name in records.plan.records:
        return
    if records.reader is None or records.reader.open:
        records.plan.records[name] = Type("i64", ())
    elif name not in records.reader.fields:
        e.report.add(unknown(name, records.reader.fields, data.name.span, "the record"), data.name.span)
    else:
        records.plan.records[name] = records.declared(e, name)


def _fitted_to(value: Any, wanted: Field, statement: ast.Field) -> Value:
    """A field's value in its declared type: cast where nothing is lost, leading 1s added; raises Problem."""
    span = statement.value.span if statement.value is not None else statement.span
    found = tensor_of(value, wanted.name)
    if found.dtype != wanted.type.dtype:
        if found.dtype in FLOATS and wanted.type.dtype in INTEGERS:
            label = f"this is {found.type}"
            raise Problem("E0602", f"`{wanted.name}` is {wanted.type}, and would be cut to integers", label, span=span)
        found = op.Cast(found, to=wanted.type.dtype)
    missing = wanted.type.rank - found.type.rank
    if missing >= 0 and (1,) * missing + found.shape == wanted.type.shape:
        return private.ReshapeTo(found, shape=wanted.type.shape) if missing else found
    raise Problem(
        "E0602",
        f"`{wanted.name}` is declared {wanted.type}, and made as {found.type}",
        f"this is {found.type}",
        span=span,
        secondary=(Label(wanted.span, "declared here"),),
    )


__all__ = ["Field", "Plan", "Records", "fields", "prepare"]
