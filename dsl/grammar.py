"""The grammar of `net.lark` as tables: built once by Lark, then read back from the user's cache folder."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import lark

from dlc.dsl.tree import TreeBuilder


@dataclass(frozen=True)
class Grammar:
    """`pattern` finds the next token and names its terminal; `words` gives the terminals of keywords."""

    lark: lark.Lark
    pattern: re.Pattern[str]
    words: dict[str, str]
    symbols: dict[str, str]
    """What terminals look like when written, for messages: `{"COMMA": ",", ...}`, keywords included."""


@functools.cache
def grammar() -> Grammar:
    """The one grammar of the process."""
    text = resources.files("dlc.dsl").joinpath("net.lark").read_text(encoding="utf-8")
    parser = _load(text)
    words, symbols, patterns = {}, {}, []
    order = sorted(parser.terminals, key=lambda t: (-t.priority, -t.pattern.max_width, -len(t.pattern.value), t.name))
    for terminal in order:
        written = terminal.pattern.value
        if terminal.pattern.type == "str" and written.isalpha():
            words[written] = terminal.name
            symbols[terminal.name] = written
        else:
            if terminal.pattern.type == "str":
                symbols[terminal.name] = written
            patterns.append((terminal.name, terminal.pattern.to_regexp()))
    # White space and names first: nothing else begins as they do, and most tokens are one of them.
    patterns.sort(key=lambda pair: (not pair[0].startswith("__IGNORE"), pair[0] != "NAME"))
    alternatives = "|".join(f"(?P<{name}>{regexp})" for name, regexp in patterns)
    return Grammar(parser, re.compile(alternatives), words, symbols)


def _load(text: str) -> lark.Lark:
    """Lark's tables for `text`. Building them takes 0.2 s, reading them back a tenth of it."""
    cache = _cache_file(text)
    # The lexer is `basic` in name only: `dlc.dsl.parser` feeds tokens and settles keywords by the parser's state.
    return lark.Lark(
        text,
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=True,
        transformer=TreeBuilder(),
        cache=str(cache) if cache else False,
    )


def _cache_file(text: str) -> Path | None:
    """Where the tables are kept, or None where nothing can be kept."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "dlc"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return None
    except (OSError, RuntimeError):
        return None
    version = f"{lark.__version__} {sys.version_info[:2]} {text}"
    return folder / f"grammar-{hashlib.sha256(version.encode()).hexdigest()[:16]}.bin"
