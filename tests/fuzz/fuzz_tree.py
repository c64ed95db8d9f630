"""Programs that still parse: syntax trees with some parts replaced, dropped, doubled or moved, printed again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import fuzz_nets
from fuzz_judge import ROOT
from fuzz_text import BASES

from dlc.compiler.elaborate.library import BUILTINS
from dlc.compiler.program import library
from dlc.dsl import ast
from dlc.dsl.diagnostics import SourceError
from dlc.dsl.parser import parse
from dlc.dsl.printer import source

NOWHERE = ast.Span("made", 1, 1, 1, 1)
INTEGERS = (0, 1, 2, 3, 4, 5, 7, 10, 28, 64, 255, 1000, 4097, 2**31, 2**48, 10**17)
FLOATS = (0.0, 0.5, 1.0, 1e-3, 1e30, 1e300, 1e-300, 2.5)
TEXTS = ("", "same", "train.csv", "label", "b c h w -> b (c h w)", "nothing", "\n", "a" * 300)
TYPES = ("f32", "i64", "bool", "u8", "f64", "str", "f16", "bf16", "int", "float", "c64", "i32", "u64")
GROUPS = (
    ("+", "-"),
    ("*", "/", "//", "%", "@"),
    ("and",),
    ("or",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("**",),
    ("..",),
)
Path_ = tuple[tuple[str, int | None], ...]


def library_names() -> list[str]:
    return [*BUILTINS, *library().main.scope]


@lru_cache(maxsize=1)
def _bases() -> list[tuple[ast.Source, str]]:
    """The examples, and nets of the generator, which are accepted as they are."""
    read = [(parse(path.read_text(encoding="utf-8"), "x"), str(path.with_name("spoilt.net"))) for path in BASES]
    here = str(ROOT / "specs" / "spoilt.net")
    made = [(parse(fuzz_nets.generated(random.Random(seed)).text, "x"), here) for seed in range(len(read) * 2)]
    return read + made


def spoilt(rng: random.Random) -> tuple[str, str]:
    """A text that parses, and the file that it pretends to be."""
    tree, file = rng.choice(_bases())
    names = library_names()
    while True:
        broken = tree
        for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
            broken = _mutated(rng, broken, names)
        text = source(broken)
        try:
            parse(text, "x")
        except SourceError:  # what was put there may not stand there: try again
            continue
        return text, str(Path(file))


def _walk(part: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every part of a tree with the way to it; trees of programs are shallow."""
    yield path, part
    for each in fields(part):
        value = getattr(part, each.name)
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, ast.Syntax):
                    yield from _walk(item, (*path, (each.name, index)))
        elif isinstance(value, ast.Syntax):
            yield from _walk(value, (*path, (each.name, None)))


def _put(part: Any, path: Path_, new: Callable[[Any], Any]) -> Any:
    if not path:
        return new(part)
    (name, index), rest = path[0], path[1:]
    value = getattr(part, name)
    if index is None:
        return replace(part, **{name: _put(value, rest, new)})
    made = _put(value[index], rest, new)
    return replace(part, **{name: (*value[:index], made, *value[index + 1 :])})


def _mutated(rng: random.Random, tree: ast.Source, names: list[str]) -> ast.Source:
    parts = list(_walk(tree))
    rng.shuffle(parts)
    own = [part.text for _, part in parts if isinstance(part, ast.Name)]
    everything = [part for _, part in parts]
    for path, part in parts[:50]:
        new = _replacement(rng, part, own, names, everything)
        if new is not None and new is not part:
            changed: ast.Source = _put(tree, path, lambda _, new=new: new)
            return changed
    return tree


def _name(rng: random.Random, own: list[str], names: list[str]) -> str:
    chosen = rng.choice((own, own, names, ["B", "training", "step", "nothing_of_that_name", "raw", "_", "x", "dev"]))
    return rng.choice(chosen) if chosen else "x"


def _value(rng: random.Random, own: list[str], names: list[str], everything: list[Any]) -> ast.Expr:
    match rng.randrange(9):
        case 0:
            return ast.Literal_(rng.choice(INTEGERS), span=NOWHERE)
        case 1:
            return ast.Literal_(rng.choice(FLOATS), span=NOWHERE)
        case 2:
            return ast.Literal_(rng.choice(TEXTS), span=NOWHERE)
        case 3:
            return ast.Literal_(rng.choice((True, False, None)), span=NOWHERE)
        case 4:
            return ast.List(tuple(_value(rng, own, names, everything) for _ in range(rng.randrange(4))), span=NOWHERE)
        case 5:
            return ast.Unary("-", ast.Literal_(rng.choice(INTEGERS), span=NOWHERE), span=NOWHERE)
        case 6 | 7:
            found = rng.choice(everything)
            if isinstance(found, ast.Expr):
                return ast.Group(found, span=NOWHERE)
    return ast.Ref(_name(rng, own, names), span=NOWHERE)


def _arguments(rng: random.Random, args: tuple[ast.Arg, ...], own: list[str], names: list[str], all_: list[Any]) -> Any:
    arguments = list(args)
    what = rng.randrange(5)
    new = ast.Arg(None, _value(rng, own, names, all_), span=NOWHERE)
    if what == 0 and arguments:
        arguments.pop(rng.randrange(len(arguments)))
    elif what == 1 and len(arguments) > 1:
        rng.shuffle(arguments)
    elif what == 2:
        arguments.insert(rng.randrange(len(arguments) + 1), new)
    elif what == 3 and arguments:
        at = rng.randrange(len(arguments))
        arguments[at] = replace(arguments[at], value=new.value)
    else:
        word = rng.choice(("axis", "k", "mask", "pad", "stride", "init", "bias", "keep", "lr", "units", "shape", "x"))
        arguments.append(replace(new, name=ast.Name(word, span=NOWHERE)))
    return tuple(arguments)


def _sequence(rng: random.Random, items: tuple[Any, ...], others: list[Any]) -> tuple[Any, ...]:
    """Statements, stages or declarations: one dropped, doubled, moved, replaced, or one more from elsewhere."""
    made = list(items)
    at = rng.randrange(len(made) + 1)
    if made and rng.random() < 0.8:
        at = min(at, len(made) - 1)
        match rng.randrange(4):
            case 0:
                made.pop(at)
            case 1:
                made.insert(at, made[at])
            case 2:
                made.insert(rng.randrange(len(made)), made.pop(at))
            case 3 if others:
                made[at] = rng.choice(others)
    elif others:
        made.insert(at, rng.choice(others))
    return tuple(made)


def _replacement(rng: random.Random, part: Any, own: list[str], names: list[str], everything: list[Any]) -> Any:
    match part:
        case ast.Name():
            if rng.random() < 0.7:
                return None  # names of declarations are many, and dull
            return replace(part, text=_name(rng, own, names))
        case ast.Ref():
            return (
                replace(part, name=_name(rng, own, names))
                if rng.random() < 0.6
                else _value(rng, own, names, everything)
            )
        case ast.Literal_():
            return _value(rng, own, names, everything)
        case ast.Call():
            if rng.random() < 0.2:
                return replace(part, target=ast.Ref(_name(rng, own, names), span=NOWHERE))
            return replace(part, args=_arguments(rng, part.args, own, names, everything))
        case ast.Binary():
            if rng.random() < 0.3:
                operands = list(part.operands)
                operands[rng.randrange(len(operands))] = ast.Group(_value(rng, own, names, everything), span=NOWHERE)
                return replace(part, operands=tuple(operands))
            group = next(group for group in GROUPS if part.ops[0].text in group)
            if rng.random() < 0.5:
                group = rng.choice(GROUPS[:2] + GROUPS[4:])
            if len(group) == 1 or group[0] == "==":
                part = replace(part, ops=part.ops[:1], operands=part.operands[:2])
            return replace(part, ops=tuple(replace(op, text=rng.choice(group)) for op in part.ops))
        case ast.TypeExpr():
            name = ast.Name(rng.choice(TYPES), span=NOWHERE) if rng.random() < 0.9 else None
            dims = list(part.dims or ())
            what = rng.randrange(5)
            if what == 0:
                return replace(part, name=name)
            if what == 1 and dims:
                dims.pop(rng.randrange(len(dims)))
            elif what == 2 and dims:
                dims[rng.randrange(len(dims))] = rng.choice(
                    (ast.Dots(span=NOWHERE), _value(rng, own, names, everything))
                )
            elif what == 3:
                rng.shuffle(dims)
            else:
                dims.insert(rng.randrange(len(dims) + 1), ast.Literal_(rng.choice(INTEGERS), span=NOWHERE))
            return replace(part, dims=tuple(dims))
        case ast.Pipeline() | ast.Chain():
            stages = _sequence(rng, part.stages, [each for each in everything if isinstance(each, ast.Stage)])
            return replace(part, stages=stages) if stages else None
        case ast.Stage():
            word = _name(rng, own, names)
            if rng.random() < 0.3:
                return replace(part, alias=None if part.alias else ast.Name(word, span=NOWHERE))
            return replace(part, step=ast.Ref(word, span=NOWHERE))
        case ast.Net() | ast.Train() | ast.Data() | ast.Infer() | ast.Section():
            statements = [each for each in everything if isinstance(each, ast.Statement)]
            return replace(part, body=_sequence(rng, part.body, statements))
        case ast.Block() | ast.Fn() if isinstance(part.body, tuple):
            statements = [each for each in everything if isinstance(each, ast.Statement)]
            return replace(part, body=_sequence(rng, part.body, statements))
        case ast.Source():
            return replace(part, declarations=_sequence(rng, part.declarations, []))
        case ast.Item():
            return replace(part, index=(_value(rng, own, names, everything),))
        case ast.IfElse():
            return replace(part, condition=_value(rng, own, names, everything))
        case ast.Expr() if rng.random() < 0.3:
            return ast.Group(_value(rng, own, names, everything), span=NOWHERE)
    return None
