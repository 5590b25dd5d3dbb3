"""Trial of a graph made elsewhere, before it becomes a bundle: it must always give the same, and what its source gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from mindwire_models.contract import Alignment, Contract, ZScore
from mindwire_models.errors import ExportError, MissingExtraError, extra
from mindwire_models.graphs.limited_run import MAX_BYTES, OUT_OF_MEMORY, limit_memory, limited_run
from mindwire_models.reading import MIB
from mindwire_models.text import first_line

Array = NDArray[np.float32]
Output = Literal["logits", "probabilities"]
Reference = Callable[[Array], NDArray[Any]]

# Largest differences of probabilities: from the source, and between batches of different sizes.
TOLERANCE, BATCH_TOLERANCE = 1e-4, 1e-5
_SUM_TOLERANCE = 1e-4
_BATCH = 8
SEED = 20231011
_MAX_SECONDS = 30.0
_TIMED_RUNS, _TIMED_SECONDS = 15, 1.0


class Trial:
    """Graph in ONNX Runtime, as the service runs it on the CPU, and the windows that it is tried on.

    Parameters
    ----------
    graph : bytes
        A bundle's plain graph.
    contract : Contract
        Its sizes are the graph's; its unit and normalisation give the amplitude of usual windows.
    where : str
        Names the graph in messages.

    Raises
    ------
    ExportError
        ONNX Runtime does not accept the graph.
    MissingExtraError
        ONNX Runtime is not installed.
    """

    def __init__(self, graph: bytes, contract: Contract, where: str) -> None:
        self._where = where
        self._contract = contract
        self._shape = (contract.n_channels, contract.window_samples)
        try:
            self._session = _session(graph)
        except MissingExtraError:
            raise
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            msg = (
                f"{where}: ONNX Runtime does not accept the graph ({first_line(error)}); its sizes may be others than the "
                f"contract's {self._shape[0]} channels and {self._shape[1]} samples, nothing was written."
            )
            raise ExportError(msg) from error
        self._usual = list(usual_windows(contract))

    def takes_batches(self) -> bool:
        """Return true if the graph runs with several windows and gives a row for each."""
        try:
            self._run(self._usual[0][1], "random windows")
        except ExportError:
            return False
        return True

    def outputs(self) -> list[Array]:
        """Return the outputs for usual windows and for edge cases, ``(batch, n_classes)`` each.

        Raises
        ------
        ExportError
            A run fails or takes too long, gives another shape, numbers that are not finite, something else when repeated, or
            something else for a window alone than for the same window in a batch.
        """
        found = []
        for label, windows in (*self._usual, *edge_windows(self._shape)):
            output = self._run(windows, label)
            if not np.isfinite(output).all():
                msg = f"{self._where}: expected finite outputs, found NaN or infinity for {label}; nothing was written."
                raise ExportError(msg)
            if not np.array_equal(self._run(windows, label), output):
                msg = f"{self._where}: the same windows gave other outputs when repeated; export it in evaluation mode."
                raise ExportError(msg)
            found.append(output)
        return found

    def compare_batches(self) -> None:
        """Refuse, with an ExportError, a graph whose outputs for a window depend on the other windows of the batch."""
        label, windows = self._usual[0]
        together = softmax(self._run(windows, label).astype(np.float64), axis=1)
        alone = [self._run(window[None], "a single window") for window in windows]
        apart = float(np.abs(softmax(np.concatenate(alone).astype(np.float64), axis=1) - together).max())
        if not apart <= BATCH_TOLERANCE:
            msg = (
                f"{self._where}: the outputs for a window alone and in a batch of {_BATCH} differ by {apart:.2g} in "
                "probabilities; export it in evaluation mode, with a batch of any size."
            )
            raise ExportError(msg)

    def compare(self, reference: Reference, kind: Output) -> float:
        """Compare with the source's own outputs; return the largest difference of probabilities.

        Raises
        ------
        ExportError
            The outputs of the source are of another shape or differ.
        """
        worst = 0.0
        for label, windows in self._usual:
            apart = self.difference(reference, kind, label, windows)
            if not apart <= TOLERANCE:
                msg = (
                    f"{self._where}: the graph's probabilities differ from its source's by {apart:.2g} on {label} "
                    f"(allowed {TOLERANCE:g}); nothing was written."
                )
                raise ExportError(msg)
            worst = max(worst, apart)
        return worst

    def difference(self, reference: Reference, kind: Output, label: str, windows: Array) -> float:
        """Return the largest difference of probabilities from the source's for some windows.

        Raises
        ------
        ExportError
            Graph or source fail, or the outputs of the source are of another shape.
        """
        found = softmax(self._run(windows, label).astype(np.float64), axis=1)
        expected = self._expected(reference, windows)
        if expected.shape != found.shape:
            msg = (
                f"{self._where}: the source gives an output of shape {_shape(expected.shape)} for {len(windows)} windows, "
                f"but expected {_shape(found.shape)}; nothing was written."
            )
            raise ExportError(msg)
        if kind == "logits":
            expected = softmax(expected, axis=1)
        return float(np.abs(found - expected).max())

    def _expected(self, reference: Reference, windows: Array) -> NDArray[np.float64]:
        try:
            return np.asarray(reference(windows), dtype=np.float64)
        except Exception as error:  # whatever the source raises
            msg = f"{self._where}: the source itself fails with {_shape(windows.shape)} ({first_line(error)}); nothing was written."
            raise ExportError(msg) from error

    def seconds(self) -> float:
        """Return the processor time that a window takes on one thread, in seconds, the median of some runs."""
        window = self._usual[0][1][:1]
        times: list[float] = []
        while len(times) < _TIMED_RUNS and sum(times) < _TIMED_SECONDS:
            begin = time.thread_time()
            self._run(window, "a single window")
            times.append(time.thread_time() - begin)
        return float(np.median(times))

    def _run(self, windows: Array, label: str) -> Array:
        shape = (len(windows), len(self._contract.classes))
        with limited_run(_MAX_SECONDS) as (options, timed_out):
            try:
                (output,) = self._session.run(["logits"], {"x": windows}, options)
            except Exception as error:  # as above
                reason = f"fails ({first_line(error)})"
                if timed_out.is_set():
                    reason = f"takes more than {_MAX_SECONDS:g} s"
                advice = self._advice(windows)
                if OUT_OF_MEMORY in str(error):
                    reason, advice = f"asks for more than {MAX_BYTES // MIB} MiB of memory", "choose a smaller one"
                msg = f"{self._where}: the graph {reason} with {label}, {_shape(windows.shape)}; {advice}."
                raise ExportError(msg) from error
        if output.shape != shape:
            msg = (
                f"{self._where}: expected an output of shape {_shape(shape)} for {label}, found {_shape(output.shape)}; "
                f"{self._advice(windows)}."
            )
            raise ExportError(msg)
        return np.asarray(output)

    def _advice(self, windows: Array) -> str:
        """Return the advice that fits a failure: sizes of the windows, or of the batch."""
        n_channels, n_times = self._shape
        n_classes = len(self._contract.classes)
        sizes = f"its sizes may be others than the contract's {n_channels} channels, {n_times} samples and {n_classes} classes"
        return f"{sizes}, or fixed to another batch than {len(windows)}; export it with a dynamic first dimension"


def gives(graph: bytes, windows: Array, expected: NDArray[Any]) -> bool:
    """Return true if a graph of one input and one output runs on windows and gives roughly what is expected."""
    try:
        (found,) = _session(graph).run(None, {"x": windows})
    except Exception:  # noqa: BLE001  # ONNX Runtime's own exceptions share no base class
        return False
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-2, atol=1e-2)


def _session(graph: bytes) -> Any:
    """Open a graph as the service does for its trial: one thread, limited memory."""
    with extra("torch", "Checking a graph needs the package onnxruntime"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    limit_memory(options)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def output_kind(outputs: list[Array], said: Output | None, where: str) -> Output:
    """Return what a graph's outputs are: probabilities where each row lies within 0 … 1 and sums to 1, otherwise logits.

    Raises
    ------
    ExportError
        They are said to be probabilities and are not.
    """
    rows = np.concatenate(outputs).astype(np.float64)
    distributions = bool(
        (rows >= -_SUM_TOLERANCE).all() and np.allclose(rows.sum(axis=1), 1.0, rtol=0.0, atol=_SUM_TOLERANCE)
    )
    if said == "probabilities" and not distributions:
        msg = (
            f"{where}: expected probabilities that sum to 1, found a row with the sum {rows.sum(axis=1)[np.argmax(np.abs(rows.sum(axis=1) - 1))]:.3g} "
            f"and the minimum {rows.min():.3g}; leave out --output, or say --output logits."
        )
        raise ExportError(msg)
    return said or ("probabilities" if distributions else "logits")


def usual_windows(contract: Contract) -> Iterator[tuple[str, Array]]:
    """Yield batches of random windows of the amplitude that the contract lets expect, smaller, and larger, with a label."""
    usual = usual_amplitude(contract)
    rng = np.random.default_rng(SEED)
    for label, size, batch in (
        ("random windows", usual, _BATCH),
        ("random windows of small amplitude", 0.1 * usual, 3),
        ("random windows of large amplitude", 5.0 * usual, 3),
    ):
        yield (
            label,
            (size * rng.standard_normal((batch, contract.n_channels, contract.window_samples))).astype(np.float32),
        )


def usual_amplitude(contract: Contract) -> float:
    """Return the standard deviation of conditioned EEG under a contract, in its unit or, normalised, without one."""
    if isinstance(contract.normalisation, Alignment):
        summed = contract.normalisation.scale == "window_sum"
        return float(contract.window_samples**-0.5) if summed else 1.0
    if isinstance(contract.normalisation, ZScore):
        return 1.0
    return 10.0 * {"V": 1e-6, "mV": 1e-3, "uV": 1.0, "nV": 1e3}[contract.unit]


def edge_windows(shape: tuple[int, int]) -> Iterator[tuple[str, Array]]:
    """Yield batches of windows at the edges of what can occur, with a label."""
    noise = np.random.default_rng(SEED).standard_normal((2, *shape))
    for label, windows in (
        ("windows of zeros", np.zeros((2, *shape))),
        ("constant windows", np.ones((2, *shape))),
        ("windows of amplitude 1e-6", 1e-6 * noise),
        ("windows of amplitude 1e4", 1e4 * noise),
    ):
        yield label, windows.astype(np.float32)


def _shape(dims: tuple[int, ...]) -> str:
    return "×".join(map(str, dims))
