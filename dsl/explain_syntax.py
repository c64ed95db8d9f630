"""From the place where the parser stopped to a diagnostic: what was found, what was expected, and where it began.

Brackets come first, then keywords where names were meant, then the table of known mistakes, then the automaton's own
knowledge of what it would have taken.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from dlc.dsl.automaton import Failure, drive
from dlc.dsl.declarations import FOLLOWERS, Segment
from dlc.dsl.diagnostics import Diagnostic, Edit, Label, nearest
from dlc.dsl.grammar import grammar
from dlc.dsl.habits import habit, over
from dlc.dsl.syntax_errors import Mistake, keyed
from dlc.dsl.tokens import COMMENTS, END, Token, end_token

_STATEMENTS = ("INPUT", "PARAM", "STATE", "NEXT", "RETURN", "YIELD", "RAGGED", "FREEZE", "LOAD", "ASSERT")
_OTHER_NAMES = {"input": "x", "param": "weight", "state": "situation", "next": "following", "return": "result"}
_OTHER_NAMES |= {"yield": "out", "ragged": "padded", "freeze": "frozen", "load": "loaded", "assert": "check"}
_BRACES = {"{": "brace", "(": "parenthesis", "[": "square bracket"}
_CLOSER = {"{": "}", "(": ")", "[": "]"}
_WHAT = {"SUM_OP": "a sum", "MUL_OP": "a product", "_POW": "a power", "CMP": "a comparison"}
_FOREIGN = {"def": "fn", "function": "fn", "func": "fn", "class": "block", "layer": "block", "module": "block"}
_FOREIGN |= {"model": "net", "network": "net", "const": "let", "var": "let", "from": "use", "dataset": "data"}
_FOREIGN_STATEMENTS = {"output": "return", "weight": "param", "parameter": "param", "buffer": "state"}
_SECTIONS = ("augment", "group", "metrics")
_ELEMENT = re.compile(r"b?f\d+|[iu]\d+|bool")
_BINARY = {"SUM_OP", "MUL_OP", "CMP", "_POW", "AND", "OR", "IF", "DOT", "LPAR", "LSQB", "__ANON_1", "__ANON_0"}
_KINDS = {"NAME": "a name", "STRING": "a text in double quotes", "INT": "a whole number", END: "the end of the file"}


def explain(failure: Failure, segment: Segment) -> Diagnostic:
    """The diagnostic for one syntax error."""
    return (
        _bracket(failure, segment)
        or habit(failure)
        or _unfinished(failure)
        or _keyword(failure)
        or _typed(failure)
        or _misspelt(failure)
        or _known(failure)
        or _outside(failure)
        or _expected(failure, segment)
    )


def _bracket(failure: Failure, segment: Segment) -> Diagnostic | None:
    token, at = failure.token, failure.at
    inner = _innermost(failure)
    if token.type == END:
        opener = failure.tokens[inner] if inner is not None else None
        if opener is None:
            return None
        opened = (Label(opener.span, "opened here"),)
        if segment.following:
            here = Label(segment.following.span, "this cannot stand inside the open bracket")
            return Diagnostic("E0115", "a bracket is not closed", here, opened)
        here = Label(token.span, f"expected `{_CLOSER[opener.text]}`")
        return Diagnostic("E0116", f"the file ends inside a {_BRACES[opener.text]}", here, opened)
    if token.text in (")", "]", "}") and at in segment.unclosed:
        return Diagnostic("E0117", f"this `{token.text}` closes nothing", Label(token.span, "nothing is open here"))
    if inner is not None and inner in segment.unclosed and failure.tokens[inner].text != "{":
        here = Label(token.span, "this cannot stand inside the open bracket")
        opened = (Label(failure.tokens[inner].span, "opened here"),)
        return Diagnostic("E0115", "a bracket is not closed", here, opened)
    return None


def _unfinished(failure: Failure) -> Diagnostic | None:
    """A statement still wants a value, and the first word of the next one was taken for it."""
    read = [*failure.tokens[: failure.at], failure.token]
    for at in range(failure.at - 1, max(failure.at - 4, 0), -1):
        word, then = read[at : at + 2]
        named = word.first and then is failure.token and then.text in ("=", ":")
        if word.type != "NAME" or not (named or (word.word in _STATEMENTS and (word.first or _is_atom(then)))):
            continue
        before = drive(read[:at], end_token(read[:at], ""))
        wanted = _wanted(before.accepted()) if isinstance(before, Failure) else ""
        if wanted in ("a value", "a stage", "a name"):
            return _missing(wanted, read[at - 1], word)
    return None


def _missing(wanted: str, before: Token, here: Token) -> Diagnostic:
    message = f"{wanted} is missing after `{_short(before)}`"
    return Diagnostic("E0113", message, Label(here.span, f"expected {wanted} before this"))


def _typed(failure: Failure) -> Diagnostic | None:
    """A value after the `:` of a name, where its type stands."""
    token, tokens, at = failure.token, failure.tokens, failure.at
    colon = at - 1 if at and tokens[at - 1].text == ":" else at - 2
    if colon < 1 or tokens[colon].text != ":" or tokens[colon - 1].type != "NAME":
        return None
    accepted, name = failure.accepted(), tokens[colon - 1].text
    if colon == at - 1:
        found = accepted == {"NAME", "LSQB"} and (_begins_value(token) or token.type == "SUM_OP")
    else:
        found = token.type in _BINARY and "LPAR" not in accepted
    if not found:
        return None
    if token.text == "(" and _ELEMENT.fullmatch(tokens[at - 1].text):
        label = Label(token.span, "expected `[`")
        return Diagnostic("E0118", "the sizes of a type stand in square brackets", label)
    value = _short(token) if _is_atom(token) else f"{tokens[at - 1].text}(...)" if token.text == "(" else "..."
    label = Label(tokens[colon].span, "after this stands a type")
    message, help_ = f"`{name}` is given a value with `=`", f"write `=`: `{name} = {value}`"
    return Diagnostic("E0118", message, label, help=help_, edit=Edit(tokens[colon].span, " ="))


def _misspelt(failure: Failure) -> Diagnostic | None:
    """Two words in a row, of which the first begins no statement."""
    tokens, at = failure.tokens, failure.at
    known = _table().get(failure.key)
    if known is not None and known.code == "E0112" and failure.token.type in ("INT", "FLOAT", "STRING"):
        return _no_statement(tokens[at - 1], sure=False)
    two = at >= 2 and tokens[at - 2].type == tokens[at - 1].type == "NAME"
    if not two or tokens[at - 2].text in _SECTIONS or not {"LBRACE"} <= failure.accepted() <= {"LBRACE", "LSQB", "DOT"}:
        return None
    line = [token.text for token in tokens[: at - 2] if token.span.line == tokens[at - 2].span.line]
    return _no_statement(tokens[at - 2], sure=True, after_slashes="//" in line)


def _no_statement(word: Token, *, sure: bool, after_slashes: bool = False) -> Diagnostic | None:
    words = [each.lower() for each in _STATEMENTS]
    near = nearest(word.text, [*words, *_SECTIONS, *_FOREIGN_STATEMENTS]) or word.text
    meant = _FOREIGN_STATEMENTS.get(near, near if near != word.text else None)
    if meant is None and not sure:
        return None
    label = f"did you mean `{meant}`?" if meant else "expected " + _either(["`name = ...`", *sorted(words)])
    edit = Edit(word.span, meant) if meant else None
    help_ = None if meant or not after_slashes else f"`//` is a division; {COMMENTS}"
    message = f"`{word.text}` does not begin a statement"
    return Diagnostic("E0101", message, Label(word.span, label), help=help_, edit=edit)


def _outside(failure: Failure) -> Diagnostic | None:
    """Text where a declaration should begin."""
    token = failure.token
    if "LET" not in failure.accepted() or not _begins_value(token):
        return None
    after = failure.tokens[failure.at + 1].text if failure.at + 1 < len(failure.tokens) else ""
    word = token.text
    message, label = f"`{_short(token)}` does not begin a declaration", "expected " + _either(sorted(FOLLOWERS))
    if word == "edition":
        return Diagnostic("E0114", "`edition` stands at the top of a file, once", Label(token.span, "not here"))
    near = nearest(word, [*FOLLOWERS, *_FOREIGN]) or word
    meant = near if near in FOLLOWERS else _FOREIGN.get(word) or _FOREIGN.get(near)
    if word.upper() in _STATEMENTS:
        help_: str | None = f"`{word}` belongs inside the braces of a `net`, `block` or another declaration"
    elif after in ("=", ":") and token.word is None:
        rest = failure.tokens[failure.at + 2 : failure.at + 4]
        plain = rest and rest[0].type in ("INT", "FLOAT", "STRING") and all(token.first for token in rest[1:])
        then = f" = {_short(rest[0])}" if plain else " = ..." if after == "=" else ": ..."
        help_ = f"to give a value a name at the top of a file, write `let {word}{then}`"
    else:
        help_ = f"did you mean `{meant}`?" if meant else None
    return Diagnostic("E0114", message, Label(token.span, label), help=help_)


def _keyword(failure: Failure) -> Diagnostic | None:
    """A keyword where a name was meant, and names where a keyword was meant."""
    token, tokens, at = failure.token, failure.tokens, failure.at
    before = tokens[at - 1] if at else None
    if token.type == "AS" and before and failure.key not in _table():
        alias = tokens[at + 1].text if at + 1 < len(tokens) else "y"
        return _plain_as(failure, token, alias)
    if before and before.type in _STATEMENTS and token.text in ("=", ","):
        other = _OTHER_NAMES[before.text]
        return Diagnostic(
            "E0108",
            f"`{before.text}` begins a statement and cannot be a name here",
            Label(before.span, "a reserved word"),
            help=f"call it `{other}`, or `{before.text}_`",
        )
    if at < 2 or before is None or before.type != "NAME":
        return None
    start = tokens[at - 2]  # a statement `word name` can only be a section; was the word meant as a keyword?
    if start.word is None or start.type != "NAME" or "LBRACE" not in failure.accepted():
        return None
    if start.text == "as":
        return _plain_as(failure, start, before.text)
    if start.text in FOLLOWERS:
        inner = _innermost(failure)
        if start.span.column == 1 and inner is not None and tokens[inner].span.line < start.span.line:
            here = Label(start.span, "this cannot stand inside the open bracket")
            return Diagnostic("E0115", "a bracket is not closed", here, (Label(tokens[inner].span, "opened here"),))
        help_ = f"inside a body write `{before.text} = ...`" if start.text == "let" else None
        return Diagnostic(
            "E0114",
            f"`{start.text}` cannot stand inside a body",
            Label(start.span, "declarations stand at the top of the file"),
            help=help_,
        )
    if start.text in ("and", "or", "if"):
        help_ = f"a pipeline swallows only stages; write `(x -> relu) {start.text} y`"
        if start.text == "if":
            help_ = "to choose a stage, write `x -> (relu if training else identity)`"
            if start.first:
                help_ += "; to choose a value, `y = a if c else b`"
        message = f"a {'choice' if start.text == 'if' else 'condition'} cannot begin inside a pipeline"
        return Diagnostic("E0110", message, Label(start.span, f"this `{start.text}` comes after a stage"), help=help_)
    label = Label(start.span, "what came before is complete")
    return Diagnostic("E0101", f"`{start.text}` cannot stand here", label)


def _plain_as(failure: Failure, word: Token, alias: str) -> Diagnostic:
    line = [token.text for token in failure.tokens if token.span.line == word.span.line]
    then = f"`{alias} = ...`, then `return {alias}`" if "return" in line else f"`{alias} = ...` on a line of its own"
    return Diagnostic(
        "E0111",
        "`as` cannot name a plain expression",
        Label(word.span, "only a stage of a pipeline is named this way"),
        help=f"give the value its name first: {then}",
    )


def _known(failure: Failure) -> Diagnostic | None:
    """A mistake from the table."""
    mistake = _table().get(failure.key)
    if mistake is None:
        return None
    token, tokens, at = failure.token, failure.tokens, failure.at
    start = _subject(failure)
    if mistake.code == "E0112":
        if start >= 2 and tokens[start - 1].type == "NAME" and tokens[start - 2].type in ("INPUT", "PARAM", "STATE"):
            label = Label(tokens[start].span, f"expected `:` between `{tokens[start - 1].text}` and its type")
            return Diagnostic("E0113", "a `:` is missing", label)
        if token.text == "==" and at == start + 1:
            what = "`==` compares; a value gets its name by `=`"
            return Diagnostic("E0118", what, Label(token.span, "write `=`"), edit=Edit(token.span, "="))
        if at + 1 < len(tokens) and tokens[at + 1].text == "=" and token.type in ("SUM_OP", "MUL_OP", "_POW"):
            note = "a name is an address: of a weight, of a value in the exported graph. It is given once."
            label = Label(over(token, tokens[at + 1]), "no value changes here")
            return Diagnostic("E0118", f"there is no `{token.text}=`", label, notes=(note,))
        if token.text == "(" and tokens[start].text == "print":
            label = Label(tokens[start].span, "nothing is printed")
            instead = "a net gives what it returns, and a run shows its loss and its `metrics { name = ... }`"
            return Diagnostic("E0118", "there is no `print`", label, help=instead)
    here = tokens[start].span if mistake.label == "nothing uses this one" else token.span
    words = {
        "found": _short(token),
        "before": tokens[at - 1].text if at else "",
        "what": _WHAT.get(token.type, "a range" if token.text == ".." else "a condition"),
        "word": tokens[0].text,
        "subject": tokens[start].text + (token.text if token.text == "(" else " "),
    }
    label = Label(here, mistake.label.format(**words))
    help_ = mistake.help.format(**words) if mistake.help else None
    return Diagnostic(mistake.code, mistake.message.format(**words), label, help=help_)


@functools.cache
def _table() -> Mapping[tuple[int, str], Mistake]:
    return keyed()


def _expected(failure: Failure, segment: Segment) -> Diagnostic:
    """What the automaton would have taken."""
    token, tokens, at = failure.token, failure.tokens, failure.at
    accepted = failure.accepted()
    before = tokens[at - 1] if at else None
    inner = _innermost(failure)
    wanted = _wanted(accepted)
    if token.type == END:
        place = segment.following or token
        label = Label(place.span, f"expected {wanted}" + (" before this" if segment.following else ""))
        what = "this declaration is not finished" if segment.following else "the file ends too early"
        return Diagnostic("E0116", what, label)
    if "COMMA" in accepted and inner is not None and tokens[inner].text != "{" and _begins_value(token):
        label = Label(token.span, f"expected `,` or `{_CLOSER[tokens[inner].text]}` before this")
        return Diagnostic("E0113", "a comma is missing", label)
    if "ELSE" in accepted and "INT" not in accepted:
        return Diagnostic("E0113", "an `if` needs its `else`", Label(token.span, "expected `else` before this"))
    if wanted in ("a value", "a stage") and before and not _begins_value(token):
        return _missing(wanted, before, token)
    if "NAME" in accepted and token.word is not None and "INT" not in accepted:
        message = f"`{token.text}` is a reserved word and cannot be a name here"
        return Diagnostic("E0108", message, Label(token.span, "expected a name"))
    around: tuple[Label, ...] = ()
    if inner is not None and tokens[inner].span.line != token.span.line:
        around = (Label(tokens[inner].span, "inside this"),)
    return Diagnostic("E0101", f"`{_short(token)}` cannot stand here", Label(token.span, f"expected {wanted}"), around)


def _wanted(accepted: set[str]) -> str:
    """Terminals in words: the shortest true description."""
    if {"NAME", "INT", "LPAR"} <= accepted:
        return "a value"
    if {"NAME", "REPEAT", "LSQB"} <= accepted:
        return "a stage"
    left = set(accepted)
    if "SUM_OP" in left:  # after an operand anything may follow; say what ends it
        left -= _BINARY
    kinds = []
    if {"INPUT", "RETURN"} <= left:
        left -= {*_STATEMENTS, "NAME", "COMMA"}
        kinds.append("a new statement")
    if {"LET", "NET"} <= left:
        left -= {word.upper() for word in FOLLOWERS} | {"EDITION"}
        kinds.append("a new declaration")
    symbols = grammar().symbols
    for name in sorted(left, key=lambda name: (name not in _KINDS, symbols.get(name, name))):
        kinds.append(_KINDS.get(name) or (f"`{symbols[name]}`" if name in symbols else "an operator"))
    return _either(list(dict.fromkeys(kinds))) if kinds else "something else"


def _either(parts: list[str]) -> str:
    quoted = [part if " " in part or part.startswith("`") else f"`{part}`" for part in parts]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _begins_value(token: Token) -> bool:
    return _is_atom(token) or token.word is not None or token.text in ("(", "[")


def _is_atom(token: Token) -> bool:
    return token.type in ("NAME", "INT", "FLOAT", "STRING")


def _short(token: Token) -> str:
    return token.text if len(token.text) <= 30 else token.text[:27] + "..."


def _innermost(failure: Failure) -> int | None:
    """Index of the bracket that is open where the parser stopped."""
    stack: list[int] = []
    for index, token in enumerate(failure.tokens[: failure.at]):
        if token.text in _CLOSER:
            stack.append(index)
        elif token.text in (")", "]", "}") and stack:
            stack.pop()
    return stack[-1] if stack else None


def _subject(failure: Failure) -> int:
    """Index of the name that begins the statement `name`, `name, name` that the parser stopped after."""
    at = max(failure.at - 1, 0)
    while at >= 2 and failure.tokens[at - 1].text == ",":
        at -= 2
    return at
