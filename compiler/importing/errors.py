"""What an ONNX model can be refused for."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Why dlc refuses what ONNX allows: a closed list, so that refusals can be counted."""

    SEQUENCE = "sequences of tensors"
    OPTIONAL = "optional values"
    STRING = "strings"
    SPARSE = "sparse tensors"
    COMPLEX = "complex numbers"
    SMALL_TYPE = "element types of 8 bits and fewer that numpy does not have"
    RANK = "tensors whose rank depends on data"
    DOMAIN = "operators of other domains without a function body"
    OLD_FORM = "a form of an operator that later opsets dropped"
    OPSET = "opsets before 7, or newer than the installed onnx"


class BadModel(Exception):
    """A file that is no ONNX model, or one that breaks ONNX's rules: what was expected, what was found, and where."""


class Refused(BadModel):
    """A sound model with something that dlc does not have; `reason` says which kind of thing."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


__all__ = ["BadModel", "Reason", "Refused"]
