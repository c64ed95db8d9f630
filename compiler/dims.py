"""Dimensions: integers, or symbolic expressions whose equality is decided.

A symbolic dimension is an integer polynomial over dimension names. A floor or ceiling division that does not come out
even is one opaque term of it, and so is what sizes broadcast to when a graph runs. It is held in normal form, so that
two dimensions are equal exactly when their normal forms are: equality is decided, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from math import gcd


@dataclass(frozen=True, slots=True)
class Quotient:
    """`numerator // divisor`, or rounded up if `ceiling`: an opaque term of a dimension."""

    numerator: Polynomial
    divisor: Polynomial | int
    ceiling: bool = False

    @property
    def key(self) -> str:
        return str(self)

    def __str__(self) -> str:
        divisor = str(self.divisor) if _is_name(self.divisor) else f"({self.divisor})"
        if self.ceiling:
            return f"ceil({self.numerator}, {self.divisor})"
        numerator = str(self.numerator) if _is_plain(self.numerator) else f"({self.numerator})"
        return f"{numerator}//{divisor}"


@dataclass(frozen=True, slots=True)
class Stretched:
    """What sizes broadcast to when a graph runs, each of them being 1 or that: an opaque term of a dimension."""

    sizes: tuple[Polynomial, ...]  # at least two, in order

    @property
    def key(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"broadcast({', '.join(map(str, self.sizes))})"


Atom = str | Quotient | Stretched
Monomial = tuple[tuple[Atom, int], ...]  # atoms with their powers, in order; () is the constant term


@dataclass(frozen=True)
class Polynomial:
    """A symbolic dimension: coefficients of monomials, in order, none zero. Make one with `symbol` and arithmetic."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _normal(total)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                powers: dict[Atom, int] = dict(left)
                for atom, power in right:
                    powers[atom] = powers.get(atom, 0) + power
                monomial = tuple(sorted(powers.items(), key=lambda item: _atom_key(item[0])))
                total[monomial] = total.get(monomial, 0) + a * b
        return _normal(total)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: Dim) -> Dim:
        return quotient(self, divisor)

    def __rfloordiv__(self, numerator: int) -> Dim:
        return quotient(numerator, self)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    @cached_property
    def _text(self) -> str:
        text = ""
        for monomial, coefficient in sorted(self.terms, key=lambda term: (not term[0], _monomial_key(term[0]))):
            size = abs(coefficient)
            alone = len(monomial) == 1 and monomial[0][1] == 1 and size == 1
            factors = [
                (str(atom) if alone else _atom_text(atom)) + (f"^{power}" if power > 1 else "")
                for atom, power in monomial
            ]
            product = "*".join(([str(size)] if size != 1 or not factors else []) + factors)
            sign = "-" if coefficient < 0 else "+"
            text += f" {sign} {product}" if text else (f"-{product}" if coefficient < 0 else product)
        return text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._text


Dim = int | Polynomial
Shape = tuple[Dim, ...]


def symbol(name: str) -> Polynomial:
    """The dimension called `name`."""
    return _of_atom(name)


_FRESH = count()


def unknown() -> Polynomial:
    """A dimension that depends on data: a new name, equal to no dimension but itself. What a type rule gives has it
    until the builder numbers it within the graph."""
    return symbol(f"?new{next(_FRESH)}")


def is_unnumbered(name: str) -> bool:
    """Whether a dimension's name is one that `unknown` gave."""
    return name.startswith("?new")


def is_unknown(name: str) -> bool:
    """Whether a dimension's name is one of a size that depends on data."""
    return name.startswith("?")


def quotient(numerator: Dim, divisor: Dim, ceiling: bool = False) -> Dim:
    """Floor (or ceiling) division. What divides evenly is taken out; the rest stays opaque.

    Raises ZeroDivisionError.

    >>> B = symbol("B")
    >>> quotient(4 * B + 6, 4), quotient(B, 2), quotient(B * B, B)
    (B + 1, B//2, B)
    """
    if divisor == 0:
        raise ZeroDivisionError("a dimension divided by 0")
    if isinstance(numerator, int) and isinstance(divisor, int):
        return -(-numerator // divisor) if ceiling else numerator // divisor
    if isinstance(divisor, int) and ceiling:
        return quotient(numerator + (divisor - 1), divisor)  # one form for one number, so that equality is decided
    if isinstance(divisor, int):
        # Whole multiples of the divisor come out, so that (H - 2)//2 + 1 and H//2 are one form.
        even = {m: c // divisor for m, c in _terms(numerator)}
        rest = {m: c % divisor for m, c in _terms(numerator)}
        remainder = _normal(rest)
        if isinstance(remainder, int):
            return _normal(even) + quotient(remainder, divisor, ceiling)
        return _normal(even) + _reduced(remainder, divisor)
    exact = _divide_exactly(numerator, divisor)
    if exact is not None:
        return exact
    whole = numerator if isinstance(numerator, Polynomial) else Polynomial((((), numerator),))
    return _of_atom(Quotient(whole, divisor, ceiling))


_LARGEST = 1 << 31  # a divisor that a run can still divide by, with every product on the way


def _reduced(numerator: Polynomial, divisor: int) -> Dim:
    """The floor of a division in its least form: `(2*H + 1)//4` is `H//2`, and `(H//2 + 1)//2` is `(H + 2)//4`."""
    common = gcd(divisor, *(coefficient for monomial, coefficient in numerator.terms if monomial))
    if common > 1:
        return quotient(_normal({m: c // common for m, c in numerator.terms}), divisor // common)
    inner = [atom for monomial, _ in numerator.terms for atom, _ in monomial if isinstance(atom, Quotient)]
    if len(inner) == 1 and isinstance(inner[0].divisor, int) and divisor * inner[0].divisor < _LARGEST:
        [atom], scale = inner, inner[0].divisor
        if dict(numerator.terms).get(((atom, 1),)) == 1:
            return quotient(atom.numerator + (numerator - _of_atom(atom)) * scale, divisor * scale)
    return _of_atom(Quotient(numerator, divisor))


def product(dims: Sequence[Dim]) -> Dim:
    """How many elements a shape has."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def symbols(dim: Dim) -> Iterator[str]:
    """The names in a dimension, those inside divisions too."""
    for monomial, _ in _terms(dim):
        for atom, _power in monomial:
            if isinstance(atom, str):
                yield atom
                continue
            for part in atom.sizes if isinstance(atom, Stretched) else (atom.numerator, atom.divisor):
                yield from symbols(part)


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """`dim` with names replaced; names that `values` lacks stay.

    >>> substitute(symbol("B") * 3 + 1, {"B": 4})
    13
    """
    return _rebuilt(dim, lambda atom: values.get(atom) if isinstance(atom, str) else None)


def supposing(dim: Dim, atom: Atom, form: Dim) -> Dim:
    """`dim` where a term of it is what `form` says.

    >>> H = symbol("H")
    >>> supposing(quotient(H, 2) + 1, *solved(H - 4 * quotient(H, 4)))
    2*(H//4) + 1
    """
    return _rebuilt(dim, lambda each: form if each == atom else None)


def multiples(dim: Dim, atom: Atom, form: Dim) -> Dim:
    """`dim` where what `supposing` made of a term, some multiple of one other, is that term again; else as it is.

    >>> H = symbol("H")
    >>> multiples(8 * quotient(H, 4) + 2 * quotient(H, 4), *solved(H - 4 * quotient(H, 4)))
    10*(H//4)
    >>> multiples(8 * quotient(H, 4), *solved(H - 4 * quotient(H, 4)))
    2*H
    """
    scale, other = _multiple(form)
    if isinstance(dim, int) or scale < 2:
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        powers = dict(monomial)
        if coefficient % scale == 0 and powers.get(other) == 1:
            del powers[other]
            total = total + Polynomial(((tuple(powers.items()), coefficient // scale),)) * _of_atom(atom)
        else:
            total = total + Polynomial(((monomial, coefficient),))
    return total


def _multiple(dim: Dim) -> tuple[int, Atom]:
    """Of what a dimension is a multiple, if it is one of a single term, and how often; else 0 times."""
    terms = _terms(dim)
    alone = len(terms) == 1 and len(terms[0][0]) == 1 and terms[0][0][0][1] == 1
    return (terms[0][1], terms[0][0][0][0]) if alone else (0, "")


def _rebuilt(dim: Dim, leaf: Callable[[Atom], Dim | None]) -> Dim:
    """`dim` with the terms replaced for which `leaf` has something; what is inside the others is looked at too."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        term: Dim = coefficient
        for atom, power in monomial:
            factor = leaf(atom)
            if factor is None:
                factor = _remade(atom, leaf)
            for _ in range(power):
                term = term * factor
        total = total + term
    return total


def _remade(atom: Atom, leaf: Callable[[Atom], Dim | None]) -> Dim:
    if isinstance(atom, str):
        return symbol(atom)
    if isinstance(atom, Stretched):
        return stretched(*(_rebuilt(size, leaf) for size in atom.sizes))
    return quotient(_rebuilt(atom.numerator, leaf), _rebuilt(atom.divisor, leaf), atom.ceiling)


def solved(difference: Dim) -> tuple[Atom, Dim] | None:
    """What one term is where `difference` is 0: the last that stands by itself, once or minus once, and in no product.

    Of names and divisions, names are preferred.

    >>> H, W = symbol("H"), symbol("W")
    >>> solved(H - W), solved(2 * H - 64 * quotient(H, 32)), solved(2 * H - 3 * W)
    (('W', H), ('H', 32*(H//32)), None)
    """
    terms = dict(_terms(difference))
    common = gcd(*terms.values())
    bare = [m[0][0] for m in reversed(terms) if len(m) == 1 and m[0][1] == 1]
    for atom in sorted(bare, key=lambda each: not isinstance(each, str)):
        own = terms[((atom, 1),)]
        if abs(own) == common and sum(any(each == atom for each, _ in m) for m in terms) == 1:
            rest = {m: coefficient // -own for m, coefficient in terms.items() if m != ((atom, 1),)}
            return atom, _normal(rest)
    return None


def stretched(*dims: Dim) -> Dim:
    """What dimensions broadcast to at run time. Of numbers that never do, the largest: the operator refuses them.

    >>> stretched(symbol("M"), symbol("N"), 1), stretched(symbol("M"), 5), stretched(1, 4)
    (broadcast(M, N), 5, 4)
    """
    sizes = {size for dim in dims for size in sizes_of(dim)} - {1}
    numbers = [size for size in sizes if isinstance(size, int)]
    if numbers or len(sizes) < 2:
        return max(numbers) if numbers else next(iter(sizes), 1)  # beside a number, every size is that or 1
    return _of_atom(Stretched(tuple(sorted((size for size in sizes if isinstance(size, Polynomial)), key=str))))


def at_least(dim: Dim, least: int) -> bool:
    """Whether a dimension is never below a number, all names in it being sizes, 0 or more."""
    if isinstance(dim, int):
        return dim >= least
    constant = sum(coefficient for monomial, coefficient in dim.terms if not monomial)
    return constant >= least and all(coefficient > 0 for monomial, coefficient in dim.terms if monomial)


def sizes_of(dim: Dim) -> tuple[Dim, ...]:
    """The sizes that a dimension is stretched from; itself if it is not."""
    atom = dim.terms[0][0][0][0] if isinstance(dim, Polynomial) and dim.terms[0][0] else None
    return atom.sizes if isinstance(atom, Stretched) and dim == _of_atom(atom) else (dim,)


def _is_plain(dim: Dim) -> bool:
    return isinstance(dim, int) or (len(dim.terms) == 1 and dim.terms[0][1] == 1 and len(dim.terms[0][0]) == 1)


def _is_name(dim: Dim) -> bool:
    return isinstance(dim, int) or (_is_plain(dim) and isinstance(dim.terms[0][0][0][0], str))


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, Polynomial) else ((((), dim),) if dim else ())


def _normal(total: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: coefficient for monomial, coefficient in total.items() if coefficient}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Polynomial(tuple(sorted(kept.items(), key=lambda term: _monomial_key(term[0]))))


def _divide_exactly(numerator: Dim, divisor: Polynomial) -> Dim | None:
    """Division by one monomial where every term contains it; None where it does not come out."""
    if len(divisor.terms) != 1:
        return 1 if numerator == divisor else None
    below, scale = divisor.terms[0]
    total: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(numerator):
        powers = dict(monomial)
        for atom, power in below:
            if powers.get(atom, 0) < power:
                return None
            powers[atom] -= power
        if coefficient % scale:
            return None
        total[tuple((atom, power) for atom, power in powers.items() if power)] = coefficient // scale
    return _normal(total)


def _atom_key(atom: Atom) -> str:
    return atom if isinstance(atom, str) else atom.key


def _atom_text(atom: Atom) -> str:
    return f"({atom})" if isinstance(atom, Quotient) and not atom.ceiling else str(atom)


def _monomial_key(monomial: Monomial) -> tuple[tuple[str, int], ...]:
    return tuple((_atom_key(atom), power) for atom, power in monomial)


def _of_atom(atom: Atom) -> Polynomial:
    return Polynomial(((((atom, 1),), 1),))


__all__ = [
    "Atom", "Dim", "Monomial", "Polynomial", "Quotient", "Shape", "Stretched", "at_least", "is_unknown",
    "is_unnumbered", "multiples", "product", "quotient", "sizes_of", "solved", "stretched", "substitute", "supposing",
    "symbol", "symbols", "unknown",
]  # fmt: skip
