"""A page for each code of a diagnostic: what it means, a program that has the mistake, and the same program mended.

The pages stand in the `.md` files of this folder, one file for each family of codes. Of the blocks marked `net` the
first has the mistake and the second has not; one marked `net file=NAME` is a file that stands beside both.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from dlc.dsl.diagnostics import CODES

FAMILIES = ("text", "names", "shapes", "training", "files", "warnings")
_FENCE = re.compile(r"^```net(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """`text` is Markdown. `failing` and `mended` are None where no program can show the mistake; `files` stand beside
    them, by name."""

    code: str
    title: str
    text: str
    failing: str | None
    mended: str | None
    files: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> str:
        """The page for a terminal: programs are indented instead of fenced."""

        def shown(found: re.Match[str]) -> str:
            head = f"    # {found[1]}\n" if found[1] else ""
            return head + re.sub(r"^(?=.)", "    ", found[2], flags=re.MULTILINE).rstrip("\n")

        return f"{self.code}: {self.title}\n\n{_FENCE.sub(shown, self.text)}"


@functools.cache
def pages() -> Mapping[str, Page]:
    """Every page by its code."""
    result = {}
    for family in FAMILIES:
        content = resources.files(__name__).joinpath(f"{family}.md").read_text(encoding="utf-8")
        for section in content.split("\n## ")[1:]:
            code, _, text = section.partition("\n")
            found = [(match[1], match[2]) for match in _FENCE.finditer(text)]
            programs = [program for name, program in found if not name]
            failing, mended = programs if programs else (None, None)
            files = {name: program for name, program in found if name}
            result[code] = Page(code, CODES[code], text.strip(), failing, mended, files)
    return result
