"""Values that flow between the steps of a pipeline's graph, and the steps' common refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import ExportError
from mindwire_models.graphs.onnx_builder import GraphBuilder

Kind = Literal["windows", "covariances", "features", "logits"]
Numbers = NDArray[np.float64]

# Added to powers: keeps logarithms of silent windows finite, far below any signal, whether in volts or microvolts.
TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Value:
    """Output of a step: its name in the graph, its kind, and its sizes without the batch."""

    name: str
    kind: Kind
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Conversion of one kind of fitted step: ``convert(g, value, step)`` adds its nodes.

    Attributes
    ----------
    takes : {"windows", "covariances", "features"}
        Kind of the input.
    fitted : str or None
        Attribute that a fitted step has; None for one without a state.
    """

    convert: Callable[[GraphBuilder, Value, Any], Value]
    takes: Kind
    fitted: str | None = None


def step_name(step: Any) -> str:
    """Return the package and the class of a step, as in ``sklearn.SVC``."""
    return f"{type(step).__module__.partition('.')[0]}.{type(step).__name__}"


def check_size(step: Any, fitted: int, value: Value) -> None:
    """Refuse, by an ExportError, a step that was fitted to another size than its input has."""
    if fitted != value.sizes[0]:
        noun = "features" if value.kind == "features" else "channels"
        msg = (
            f"{type(step).__name__} was fitted to {fitted} {noun}, but gets {value.sizes[0]} here; "
            "choose the contract of the data that the pipeline was fitted to."
        )
        raise ExportError(msg)


def refuse_argument(step: Any, name: str, known: str) -> ExportError:
    """Return the error for an argument of a step that has no graph; ``known`` names those that have one."""
    return ExportError(
        f"{type(step).__name__}({name}={getattr(step, name)!r}) has no graph; expected {known}, so fit the pipeline with that."
    )


def symmetric_power(matrix: Numbers, power: float) -> Numbers:
    """Return a power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values**power) @ vectors.T)


def symmetric_log(matrix: Numbers) -> Numbers:
    """Return the logarithm of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.log(values)) @ vectors.T)
