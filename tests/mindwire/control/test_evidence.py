"""Evidence against independent computations."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from mindwire.control.evidence import HiddenMarkovEvidence, IntegratorEvidence, LeakyEvidence, accumulator
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import DynamicIntegrator, EstimatedPrior, HiddenMarkov, Latest, Leaky

CLASSES = ("left", "right", "feet")


def predictions(n: int, n_classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1.0] * n_classes, n)


def test_leaky_evidence_is_the_sum_of_the_formula() -> None:
    tau, window, hop = 1.5, 4.0, 0.04
    evidence = LeakyEvidence(Leaky(time_constant_s=tau), CLASSES, window)
    given_ = predictions(200)
    for p in given_:
        posterior = evidence.update(p.tolist(), hop)
    ages = hop * np.arange(len(given_))[::-1, None]
    total = (hop / window * np.exp(-ages / tau) * np.log(given_ * 3)).sum(axis=0)
    expected = np.exp(total) / np.exp(total).sum()
    np.testing.assert_allclose(posterior, expected, rtol=1e-10)


def test_contrast_takes_away_what_was_predicted_half_a_window_ago() -> None:
    tau, window, hop, contrast = 0.5, 4.0, 0.04, 0.5
    evidence = LeakyEvidence(Leaky(time_constant_s=tau, contrast=contrast), CLASSES, window)
    given_ = predictions(400, seed=7)
    valid = np.random.default_rng(8).random(400) > 0.1
    posterior = np.array(
        [evidence.update(p.tolist() if ok else None, hop) for p, ok in zip(given_, valid, strict=True)]
    )
    ratios = np.where(valid[:, None], np.log(given_ * 3), 0.0)
    lag = round(window / 2 / hop)
    earlier = np.concatenate([np.zeros((lag, 3)), ratios[:-lag]])
    new = np.where(valid[:, None], ratios - contrast * earlier, 0.0)
    kept = math.exp(-hop / tau)
    expected = np.exp(lfilter([hop / window], [1, -kept], new, axis=0))
    np.testing.assert_allclose(posterior, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("elapsed_s", [4.0, 5.0])
def test_contrast_takes_nothing_from_windows_that_do_not_overlap(elapsed_s: float) -> None:
    plain, contrasted = (LeakyEvidence(Leaky(contrast=c), CLASSES, 4.0) for c in (0.0, 1.0))
    for p in predictions(20):
        assert plain.update(p.tolist(), elapsed_s) == contrasted.update(p.tolist(), elapsed_s)


def test_contrast_outlives_a_decision_but_no_break_of_the_signal() -> None:
    """Half a window later the prediction from before is taken away after the one, and is forgotten after the other."""
    strong, none = [0.8, 0.1, 0.1], [1 / 3] * 3
    after = {}
    for continued in (True, False):
        evidence = LeakyEvidence(Leaky(time_constant_s=0.1, contrast=0.5), CLASSES, 4.0)
        evidence.update(strong, 0.04)
        if continued:
            evidence.reset()
        else:
            evidence.restart()
        after[continued] = [evidence.update(none, 0.04)[0] for _ in range(50)]
    assert after[False] == pytest.approx([1 / 3] * 50)
    assert after[True][:-1] == pytest.approx([1 / 3] * 49)
    assert after[True][-1] < 0.332


@pytest.mark.parametrize("drift", [0.4, 0.8])
def test_without_a_leak_it_meets_walds_bounds(drift: float) -> None:
    """Independent draws (windows that do not overlap), thresholds 0.95: at most 5 % wrong, as Wald's bound says."""
    rng = np.random.default_rng(1)
    wrong, n_runs, lengths = 0, 2000, []
    for _ in range(n_runs):
        evidence = LeakyEvidence(Leaky(time_constant_s=None), ("a", "b"), 1.0)
        for n in itertools.count(1):
            x = rng.normal(drift)
            ratio = math.exp(2 * drift * x)  # N(+drift, 1) against N(-drift, 1)
            posterior = evidence.update([ratio / (1 + ratio), 1 / (1 + ratio)], 1.0)
            if max(posterior) >= 0.95:
                wrong += posterior[1] > posterior[0]
                lengths.append(n)
                break
    limit = 0.05 + 4 * math.sqrt(0.05 * 0.95 / n_runs)
    assert wrong / n_runs <= limit
    bound = (0.9 * math.log(19)) / (2 * drift**2)  # Wald's mean number of draws, without the excess
    assert bound <= np.mean(lengths) <= bound + 2 * (1 + 1 / drift)


@pytest.mark.parametrize("idle", [None, "feet"])
def test_the_forward_filter_is_the_sum_over_all_paths(idle: str | None) -> None:
    options, window, hop = HiddenMarkov(idle_s=3.0, active_s=1.0), 1.0, 0.5
    evidence = HiddenMarkovEvidence(options, CLASSES, idle, window)
    given_ = predictions(6, seed=3)
    posterior = [evidence.update(p.tolist(), hop) for p in given_][-1]
    n_states = 4 if idle is None else 3
    rest = n_states - 1 if idle is None else CLASSES.index(idle)
    begin, end = 1 - math.exp(-hop / 3), 1 - math.exp(-hop / 1)

    def step(a: int, b: int) -> float:
        if a == rest:
            return 1 - begin if b == rest else begin / (n_states - 1)
        return end if b == rest else (1 - end if a == b else 0.0)

    weights = np.zeros(n_states)
    for path in itertools.product(range(n_states), repeat=len(given_)):
        weight, before = 1.0, rest
        for state, p in zip(path, given_, strict=True):
            weight *= step(before, state) * ((3 * p[state]) ** (hop / window) if state < 3 else 1.0)
            before = state
        weights[path[-1]] += weight
    np.testing.assert_allclose(posterior, (weights / weights.sum())[:3], rtol=1e-9)


def test_the_integrator_rests_at_the_centre_and_leaves_it_by_steady_input() -> None:
    evidence = IntegratorEvidence(DynamicIntegrator(), ("a", "b"))
    for _ in range(2000):
        rest = evidence.update([0.5, 0.5], 0.04)
    assert rest == [0.5, 0.5]
    for _ in range(2000):
        moved = evidence.update([0.95, 0.05], 0.04)
    assert moved[0] > 0.95
    evidence.reset()
    for _ in range(2000):
        back = evidence.update([0.05, 0.95], 0.04)
    assert back[0] < 0.05


@pytest.mark.parametrize("options", [Leaky(), Leaky(contrast=0.5), Leaky(time_constant_s=None), HiddenMarkov()])
def test_invalid_predictions_forget_and_never_add(options: Leaky | HiddenMarkov) -> None:
    evidence = accumulator(ControlPolicy(evidence=options), CLASSES, 4.0)
    for _ in range(100):
        before = evidence.update([0.9, 0.05, 0.05], 0.04)
    values = [before[0]] + [evidence.update(None, 0.04)[0] for _ in range(1500)]
    assert all(b <= a for a, b in itertools.pairwise(values))
    never = accumulator(ControlPolicy(evidence=options), CLASSES, 4.0)
    for _ in range(1500):
        unknown = never.update(None, 0.04)[0]
    assert values[-1] == pytest.approx(unknown, abs=1e-6)


def test_an_estimated_prior_removes_a_bias() -> None:
    evidence = LeakyEvidence(Leaky(prior=EstimatedPrior(time_constant_s=10.0)), CLASSES, 4.0)
    for p in predictions(5000) * [0.5, 0.2, 0.3] + [0.5, 0.0, 0.0]:
        posterior = evidence.update((p / p.sum()).tolist(), 0.04)
    unbiased = LeakyEvidence(Leaky(), CLASSES, 4.0)
    for p in predictions(5000) * [0.5, 0.2, 0.3] + [0.5, 0.0, 0.0]:
        biased = unbiased.update((p / p.sum()).tolist(), 0.04)
    assert abs(posterior[0] - 1 / 3) < abs(biased[0] - 1 / 3) / 2


@given(
    options=st.sampled_from(
        [Leaky(), Leaky(contrast=1.0), Leaky(time_constant_s=None), HiddenMarkov(), Leaky(prior=EstimatedPrior())]
    ),
    steps=st.lists(
        st.tuples(
            st.one_of(st.none(), st.tuples(*[st.floats(0, 1)] * 3).filter(lambda p: sum(p) > 0)),
            st.floats(1e-6, 1e4),
        ),
        max_size=60,
    ),
)
def test_posteriors_are_probabilities(options: Leaky | HiddenMarkov, steps: list) -> None:
    evidence = accumulator(ControlPolicy(evidence=options), CLASSES, 4.0)
    for p, elapsed in steps:
        total = sum(p) if p else 1.0
        posterior = evidence.update([value / total for value in p] if p else None, elapsed)
        assert all(0 <= value <= 1 for value in posterior)
        assert math.fsum(posterior) <= 1 + 1e-9


def test_leaky_evidence_is_exponential_smoothing_of_the_log_probabilities() -> None:
    """Times a constant: what Cybathlon teams smooth, with the weight of a window over that of the time constant."""
    tau, window, hop = 0.8, 4.0, 0.04
    evidence = LeakyEvidence(Leaky(time_constant_s=tau), CLASSES, window)
    given_ = predictions(300, seed=5)
    posterior = np.array([evidence.update(p.tolist(), hop) for p in given_])
    kept = math.exp(-hop / tau)
    smoothed = lfilter([1 - kept], [1, -kept], np.log(given_), axis=0)
    expected = np.exp(smoothed * hop / window / (1 - kept))
    np.testing.assert_allclose(posterior, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)


def test_the_integrator_is_that_of_the_paper() -> None:
    """Against forces written as the paper has them, in vectors over the state, and Euler's method."""
    options = DynamicIntegrator(phi=0.55, omega=0.25, psi=0.3, chi=1.7)
    evidence = IntegratorEvidence(options, ("a", "b"))
    rng = np.random.default_rng(2)
    y, omega = 0.5, options.omega
    for n in range(3000):
        p = float(np.clip(rng.normal(0.5 + 0.35 * math.sin(n / 200), 0.15), 0.01, 0.99))
        conditions = [y < 0.5 - omega, 0.5 - omega <= y <= 0.5 + omega, y > 0.5 + omega]
        free = np.select(
            conditions,
            [
                -np.sin(np.pi / (0.5 - omega) * y),
                -options.psi * np.sin(np.pi / omega * (y - 0.5)),
                np.sin(np.pi / (0.5 - omega) * (y - 0.5 - omega)),
            ],
        )
        bmi = np.polyval([6.4, 0.0, 0.4, 0.0], p - 0.5)
        y = float(np.clip(y + 0.04 * options.chi * (options.phi * free + (1 - options.phi) * bmi), 0, 1))
        assert evidence.update([p, 1 - p], 0.04)[0] == pytest.approx(y, abs=1e-9)
    assert evidence.update([0.0, 1.0], 3600.0) == [0.0, 1.0]


@pytest.mark.parametrize("options", [Leaky(), Leaky(time_constant_s=None), HiddenMarkov(), Latest()])
def test_certain_predictions_never_make_the_evidence_irreversible(options: Leaky | HiddenMarkov | Latest) -> None:
    evidence = accumulator(ControlPolicy(evidence=options), CLASSES, 4.0)
    for _ in range(5000):
        certain = evidence.update([1.0, 0.0, 0.0], 0.04)
    assert certain[0] == max(certain)
    for _ in range(10_000):
        turned = evidence.update([0.0, 1.0, 0.0], 0.04)
    assert turned[1] == max(turned)


def test_an_estimated_prior_stays_above_its_floor() -> None:
    evidence = LeakyEvidence(Leaky(prior=EstimatedPrior(time_constant_s=1.0)), CLASSES, 4.0)
    for _ in range(20_000):
        evidence.update([1.0, 0.0, 0.0], 0.04)
    posterior = evidence.update([0.2, 0.3, 0.5], 0.04)
    assert all(math.isfinite(value) for value in posterior)
    assert math.fsum(posterior) == pytest.approx(1)
