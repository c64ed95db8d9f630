"""Turns of a loop that are alike are drawn once, and groups that hold one thing are not drawn at all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from dlc.runtime.drawing.picture import Group

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(eq=False, slots=True)
class Part:
    """A box in the making. `turns` are the turns of loops that it lies in, outer first, as (loop, turn).

    Parts that have the same `alike` at the same place in two turns are drawn as one. `extra` ones may be missing in
    later turns: what all turns share is made in the first.
    """

    label: str
    group: Group | None = None
    turns: tuple[tuple[int, int], ...] = ()
    alike: Hashable = None
    extra: bool = False


@dataclass(slots=True)
class Turns:
    """Which part stands for which, and which turn of a loop for which."""

    alias: list[int]
    stands: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def drawn(self, source: Part, target: Part) -> bool:
        """Is an edge between two parts drawn? Not from one turn to the next where one box stands for both."""
        goal = dict(target.turns)
        for loop, turn in source.turns:
            other = goal.get(loop)
            if other is not None and other != turn:
                return self.stands[loop, turn] != self.stands[loop, other]
        return True


def merge(parts: Sequence[Part], groups: dict[tuple[int, int], Group]) -> Turns:
    """Find the turns of each loop that look like one before them, inner loops first; `groups` are those of the turns.

    The group of a turn that stands for several says how many.
    """
    result = Turns(list(range(len(parts))), {each: each for each in groups})
    inside: dict[tuple[int, int], list[int]] = {each: [] for each in groups}
    for number, part in enumerate(parts):
        for each in part.turns:
            inside[each].append(number)
    loops: dict[int, list[int]] = {}
    for loop, turn in groups:
        loops.setdefault(loop, []).append(turn)
    for loop in sorted(loops, reverse=True):
        first, looks, count = (loop, loops[loop][0]), _looks(parts, inside, (loop, loops[loop][0]), groups, result), 1
        for turn in loops[loop][1:]:
            here = _looks(parts, inside, (loop, turn), groups, result)
            same = here.keys() <= looks.keys() and all(parts[looks[look]].extra for look in looks.keys() - here.keys())
            if here and same:
                count += 1
                result.stands[loop, turn] = first
                for look, number in here.items():
                    result.alias[number] = looks[look]
                _count(groups[first], first[1], turn, count)
            else:
                first, looks, count = (loop, turn), here, 1
    result.alias[:] = [_followed(result.alias, number) for number in range(len(parts))]
    return result


def _looks(
    parts: Sequence[Part],
    inside: dict[tuple[int, int], list[int]],
    turn: tuple[int, int],
    groups: dict[tuple[int, int], Group],
    found: Turns,
) -> dict[Hashable, int]:
    """The parts of a turn that are drawn, by what they look like and where in the turn they are."""
    looks: dict[Hashable, int] = {}
    for number in inside[turn]:
        if found.alias[number] != number:
            continue
        path: list[str] = []
        group = parts[number].group
        while group is not None and group is not groups[turn]:
            path.append(f"{group.label} {group.note}")
            group = group.parent
        look = (tuple(path), parts[number].label, parts[number].alike)
        copy = 0
        while (look, copy) in looks:
            copy += 1
        looks[look, copy] = number
    return looks


def _count(group: Group, first: int, last: int, count: int) -> None:
    before = group.label.rpartition("[")[0]
    group.label, group.note = f"{before}[{first}..{last}]", f"{TIMES} {count}"


def _followed(alias: Sequence[int], number: int) -> int:
    while alias[number] != number:
        number = alias[number]
    return number


def dissolve(members: Sequence[Group | None]) -> list[tuple[Group | None, str, str]]:
    """For each member's group the group to draw it in, and the label and note of groups that it alone makes up.

    A group around one group passes its label on likewise.
    """
    children: dict[Group, dict[object, None]] = {}
    for number, group in enumerate(members):
        child: object = number
        while group is not None:
            known = group in children
            children.setdefault(group, {})[child] = None
            if known:
                break
            child, group = group, group.parent
    result: list[tuple[Group | None, str, str]] = []
    joined: set[Group] = set()
    for group in members:
        label = note = ""
        if group is not None and len(children[group]) == 1:
            while group is not None and len(children[group]) == 1:
                label, note = f"{group.label}.{label}".rstrip("."), group.note or note
                group = group.parent
        result.append((group, label, note))
        inner = group
        while inner is not None and inner not in joined:
            joined.add(inner)
            while inner.parent is not None and len(children[inner.parent]) == 1:
                outer = inner.parent
                inner.label, inner.note = f"{outer.label}.{inner.label}", " ".join((outer.note, inner.note)).strip()
                inner.parent = outer.parent
            inner = inner.parent
    return result


__all__ = ["Part", "Turns", "dissolve", "merge"]
