"""A network that learns while it decodes: from good windows alone, in bounded steps, and as its replay does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from mindwire.adaptation import SavedAdaptation  # noqa: E402
from mindwire.errors import ArgumentError, ContractError, UsageError  # noqa: E402
from mindwire.inference.adaptive import AdaptationSteps, AdaptiveDecoder  # noqa: E402
from mindwire.inference.decoder import probabilities  # noqa: E402
from mindwire.inference.load import load_decoder  # noqa: E402
from mindwire.inference.pytorch import TorchDecoder  # noqa: E402
from mindwire.options import AdaptationCommand, PipelineOptions  # noqa: E402
from mindwire.pipeline import Pipeline  # noqa: E402
from mindwire.signal import rollback  # noqa: E402
from mindwire.types import TIMING_ONLY, Chunk, Reason  # noqa: E402
from mindwire_models.bundle import load_bundle  # noqa: E402
from mindwire_models.export import export_bundle  # noqa: E402
from mindwire_models.network.attentionbasenet import AttentionBaseNet  # noqa: E402
from mindwire_models.network.ensemble import Ensemble  # noqa: E402
from mindwire_models.network.riemann import TangentSpaceNetwork  # noqa: E402
from tests.support.bundles import random_bundle  # noqa: E402
from tests.support.linear_decoder import LinearDecoder  # noqa: E402
from tests.support.signals import cut, noise, signal_info, small_contract  # noqa: E402

CONTRACT = small_contract(window_samples=200)
N = 4000
SAMPLES, TIMES = noise(N), np.arange(N) / 100.0
PACE = AdaptationSteps(windows=3)
KINDS = pytest.mark.parametrize("kind", ["bn", "entropy"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(random_bundle(tmp_path_factory.mktemp("adaptive") / "bundle", CONTRACT))


@pytest.fixture(scope="module")
def decoders(bundle):
    return {kind: AdaptiveDecoder(bundle, kind, "a test", PACE) for kind in ("bn", "entropy")}


def make_pipeline(decoder, kind, **options):
    return Pipeline(CONTRACT, signal_info(), decoder, PipelineOptions(adapt=kind, **options))


def run(pipeline, chunks):
    predictions = [prediction for chunk in chunks for prediction in pipeline.process(chunk)]
    return predictions + pipeline.finish()


def as_bits(predictions):
    return [(p.seq, p.time, p.probabilities.tobytes(), int(p.reasons)) for p in predictions]


def tensors_of(pipeline):
    return {name: array.copy() for name, array in pipeline.learner.save().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@settings(max_examples=8, deadline=None)
@given(
    kind=st.sampled_from(["bn", "entropy"]),
    sizes=st.lists(st.sampled_from([1, 3, 7, 10, 32, 100, 700]), min_size=1, max_size=5),
    lost=st.sampled_from([0, 3, 250]),
    damaged=st.booleans(),
)
def test_chunking_never_matters(decoders, kind, sizes, lost, damaged):
    samples, times = SAMPLES[:2500].copy(), TIMES[:2500].copy()
    times[1300:] += lost / 100
    if damaged:
        samples[1700:1750, 1] = np.nan
    whole, pieces = (make_pipeline(decoders[kind], kind, hop_samples=33) for _ in range(2))
    expected = run(whole, [Chunk(samples, times)])
    assert as_bits(run(pieces, cut(samples, times, sizes))) == as_bits(expected)
    assert whole.learner.steps == pieces.learner.steps > 0
    assert_same(tensors_of(whole), tensors_of(pieces))


@KINDS
def test_what_is_learnt_changes_the_predictions_from_the_first_step_on(bundle, decoders, kind):
    adapted = run(make_pipeline(decoders[kind], kind, hop_samples=40), [Chunk(SAMPLES, TIMES)])
    plain = run(
        make_pipeline(TorchDecoder(bundle, "cpu", "a test"), "alignment", hop_samples=40), [Chunk(SAMPLES, TIMES)]
    )
    apart = np.array([np.abs(a.probabilities - p.probabilities).max() for a, p in zip(adapted, plain, strict=True)])
    assert apart[:10].max() < 1e-6
    assert apart[-20:].min() > 1e-6


@KINDS
def test_neither_hops_nor_skipped_windows_matter_to_what_is_learnt(decoders, kind):
    every = make_pipeline(decoders[kind], kind, hop_samples=20)
    expected = {p.time: p for p in run(every, cut(SAMPLES, TIMES, [25]))}
    some = make_pipeline(decoders[kind], kind, hop_samples=100)
    for number, chunk in enumerate(cut(SAMPLES, TIMES, [25])):
        windows = some.advance(chunk)
        if number % 20 == 0 and windows:
            logits = some.decoder.decode([some.session], windows[-1:])
            prediction = some.complete(windows[-1], probabilities(logits, some.contract.temperature)[0])
            assert prediction.probabilities.tobytes() == expected[prediction.time].probabilities.tobytes()
    assert_same(tensors_of(every), tensors_of(some))


@KINDS
def test_frozen_stays_until_resumed(decoders, kind):
    pipeline = make_pipeline(decoders[kind], kind)
    pipeline.advance(Chunk(SAMPLES[:2000], TIMES[:2000]))
    pipeline.adapt(AdaptationCommand("freeze"))
    before, matrix = tensors_of(pipeline), pipeline.alignment.matrix
    pipeline.advance(Chunk(SAMPLES[2000:3000], TIMES[2000:3000]))
    assert_same(tensors_of(pipeline), before)
    np.testing.assert_array_equal(pipeline.alignment.matrix, matrix)
    pipeline.adapt(AdaptationCommand("resume"))
    pipeline.advance(Chunk(SAMPLES[3000:], TIMES[3000:]))
    assert pipeline.learner.steps > before["steps"][0]


@pytest.mark.parametrize(("size", "count"), [(0, 600), (100, 600), (8 * 64 * 64, 64), (1 << 30, 1)])
def test_what_is_remembered_for_rollbacks_has_a_largest_number_and_size(size, count):
    assert rollback.remembered(size) == count


@KINDS
def test_a_network_remembers_no_more_steps_than_may_be_kept(decoders, kind, monkeypatch):
    monkeypatch.setattr(rollback, "MAX_BYTES", 1)
    pipeline = make_pipeline(decoders[kind], kind)
    for chunk in cut(SAMPLES, TIMES, [100]):
        pipeline.advance(chunk)
    steps = pipeline.learner.steps
    assert steps > 6
    assert pipeline.learner.rollback(10_000) == 1
    assert pipeline.learner.steps == steps - 1


@KINDS
def test_a_rollback_is_exact(decoders, kind):
    pipeline = make_pipeline(decoders[kind], kind)
    states = [tensors_of(pipeline)]
    for chunk in cut(SAMPLES, TIMES, [100]):
        pipeline.advance(chunk)
        if pipeline.learner.steps == len(states):
            states.append(tensors_of(pipeline))
    assert len(states) > 6
    assert pipeline.learner.drift > 0
    pipeline.adapt(AdaptationCommand("rollback", steps=4))
    assert_same(tensors_of(pipeline), states[-5])
    [event] = [event for event in pipeline.drain_events() if event.kind == "adaptation"]
    assert event.data["steps"] == 4
    assert pipeline.learner.rollback(10_000) == len(states) - 5
    assert_same(tensors_of(pipeline), states[0])
    assert pipeline.learner.drift == 0
    assert pipeline.learner.shift == 0


@KINDS
def test_a_replay_repeats_the_commands_of_the_session(decoders, kind):
    live = make_pipeline(decoders[kind], kind, hop_samples=33)
    script = {90: AdaptationCommand("rollback", 2, steps=3), 180: AdaptationCommand("freeze")}
    script |= {260: AdaptationCommand("resume")}
    predictions, told = [], []
    for number, chunk in enumerate(cut(SAMPLES, TIMES, [11])):
        predictions += live.process(chunk)
        if number in script:
            live.adapt(script[number])
        told += [event.data for event in live.drain_events() if event.kind == "adaptation"]
    commands = tuple(
        AdaptationCommand(e["action"], e.get("updates", 0), e["segment"], e["at"], e.get("steps", 0)) for e in told
    )
    replayed = run(make_pipeline(decoders[kind], kind, hop_samples=33, commands=commands), cut(SAMPLES, TIMES, [64]))
    assert as_bits(replayed) == as_bits(predictions + live.finish())


class Watched(AdaptiveDecoder):
    """Notes which windows its sessions are given to learn from."""

    def session(self):
        session = super().session()
        session.fed, learn = [], session.learn

        def noting(window):
            session.fed.append((window.end, window.reasons))
            learn(window)

        session.learn = noting
        return session


@pytest.mark.parametrize(
    "damage",
    [
        lambda x: x.__setitem__((slice(2100, 2103), 1), np.nan),
        lambda x: x.__setitem__((slice(2100, 2160), 2), 3.0),
        lambda x: x.__setitem__((slice(2100, 2106), 2), 4000.0),
        lambda x: x.__setitem__((slice(2100, 2160), slice(None)), x[2100:2160] * 1000),
        lambda x: x.__iadd__(np.where(np.abs(TIMES - 21.5) < 2, 300 * np.sin(2 * np.pi * 48 * TIMES), 0)[:, None]),
    ],
    ids=["not finite", "flat", "at the rail", "huge", "line noise"],
)
def test_bad_and_flagged_windows_are_never_learnt_from(bundle, damage):
    samples = SAMPLES.copy()
    damage(samples)
    pipeline = make_pipeline(Watched(bundle, "bn", "a test", PACE), "bn")
    for chunk in cut(samples, TIMES, [10]):
        pipeline.advance(chunk)
    ends = [end for end, _ in pipeline.session.fed]
    assert len(ends) > 10
    assert not [reasons for _, reasons in pipeline.session.fed if reasons & ~TIMING_ONLY]
    assert 2200 not in ends  # the window that holds the damage
    assert all(end % CONTRACT.window_samples == 0 for end in ends)


def test_what_a_bad_stretch_holds_leaves_no_trace(decoders):
    learnt = []
    for seed in (1, 2):
        samples = SAMPLES.copy()
        samples[2101:2105] = noise(4, seed=seed) * 1e5
        pipeline = make_pipeline(decoders["bn"], "bn", alignment="off")
        pipeline.advance(Chunk(samples[:2200], TIMES[:2200]))
        assert pipeline.learner.steps == 2200 // 200 - 4  # one settles, two fill the memory, one is bad
        learnt.append(tensors_of(pipeline))
    assert_same(*learnt)


@KINDS
def test_steps_are_bounded_whatever_comes(bundle, kind):
    pace = AdaptationSteps(windows=2, reach=0.02)
    decoder = AdaptiveDecoder(bundle, kind, "a test", pace)
    pipeline = make_pipeline(decoder, kind, alignment="off")
    session = pipeline.session
    rng = np.random.default_rng(0)
    before = tensors_of(pipeline)
    weights = [name for name in before if name.endswith(("weight", "bias"))]
    size = np.sqrt(sum((before[name] ** 2).sum() for name in weights))
    for step in range(12):
        gain = 10.0 ** rng.uniform(-3, 3)
        window = make_window(rng.standard_normal((200, 3)) * gain)
        session.learn(window)
        after = tensors_of(pipeline)
        moved = np.sqrt(sum(((after[name] - before[name]) ** 2).sum() for name in weights))
        assert moved <= pace.step_limit * size * 1.001, step
        for name in after:
            if name.endswith("running_var"):
                assert (after[name] >= (1 - pace.momentum) * before[name] * 0.9999).all()
        before = after
    assert session.shift <= 0.02 * 1.001
    assert (session.shift > 0) == (kind == "entropy")
    assert all(np.isfinite(array).all() for array in before.values())


def make_window(samples):
    pipeline = Pipeline(CONTRACT, signal_info(), LinearDecoder(2), PipelineOptions(alignment="off"))
    [window] = pipeline.advance(Chunk(SAMPLES[:200], TIMES[:200]))
    from msgspec.structs import replace

    return replace(window, samples=samples.astype(np.float32), reasons=Reason.NONE)


def test_statistics_follow_the_signal(decoders):
    decoder = decoders["bn"]
    pipeline = make_pipeline(decoder, "bn", alignment="off")
    rng = np.random.default_rng(0)
    signal = [make_window(rng.standard_normal((200, 3)) * 3) for _ in range(3)]
    for _ in range(200):
        for window in signal:
            pipeline.session.learn(window)
    network = pipeline.session._network
    x = torch.from_numpy(np.stack([window.samples.T for window in signal]))
    filtered = network.input_block.temporal_conv(x.unsqueeze(1))
    np.testing.assert_allclose(
        pipeline.learner.save()["input_block.intermediate_bn.running_var"],
        filtered.detach().numpy().var(axis=(0, 2, 3), ddof=1),
        rtol=0.01,
    )


def test_entropy_falls(decoders):
    pipeline = make_pipeline(decoders["entropy"], "entropy", alignment="off")
    rng = np.random.default_rng(3)
    windows = [make_window(rng.standard_normal((200, 3)) * 5) for _ in range(3)]

    def entropy():
        logits = np.stack([pipeline.session.logits(window) for window in windows]).astype(float)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return -(p * np.log(p)).sum(axis=1).mean()

    for _ in range(200):
        pipeline.session._follow_statistics(torch.from_numpy(np.stack([w.samples.T for w in windows])))
    pipeline.session._state = pipeline.session._loaded
    before = entropy()
    for _ in range(30):
        pipeline.session._lower_entropy(torch.from_numpy(np.stack([w.samples.T for w in windows])))
    assert entropy() < before


def test_an_ensemble_adapts_all_its_members(tmp_path):
    torch.manual_seed(1)
    members = [
        AttentionBaseNet(n_times=200, n_chans=3, n_outputs=2, n_temporal_filters=8, attention_mode="se")
        for _ in range(2)
    ]
    export_bundle(Ensemble(members).eval(), CONTRACT, tmp_path / "bundle", name="two", provenance="a test")
    pipeline = make_pipeline(AdaptiveDecoder(load_bundle(tmp_path / "bundle"), "entropy", "a test", PACE), "entropy")
    start = tensors_of(pipeline)
    pipeline.advance(Chunk(SAMPLES, TIMES))
    moved = {name for name, array in tensors_of(pipeline).items() if (array != start[name]).any()}
    for member in (0, 1):
        assert f"members.{member}.input_block.bn.running_mean" in moved
        assert f"members.{member}.channel_attention_block.conv.2.bias" in moved


def test_a_decoder_without_batchnorm_is_refused(tmp_path):
    network = TangentSpaceNetwork(3, 200, 2).eval()
    export_bundle(network, CONTRACT, tmp_path / "bundle", name="tangent", provenance="a test")
    with pytest.raises(UsageError, match="without BatchNorm"):
        load_decoder(load_bundle(tmp_path / "bundle"), adapt="bn")


@pytest.mark.parametrize("asked", [{"engine": "onnxruntime"}, {"device": "cuda"}])
def test_adaptation_takes_pytorch_on_the_cpu(bundle, asked):
    with pytest.raises(UsageError, match="--engine torch and --device cpu"):
        load_decoder(bundle, **asked, adapt="entropy")
    assert isinstance(load_decoder(bundle, adapt="entropy"), AdaptiveDecoder)


def test_options_and_decoder_must_agree(decoders):
    with pytest.raises(ArgumentError, match="'alignment', but the decoder was made for 'bn'"):
        make_pipeline(decoders["bn"], "alignment")
    with pytest.raises(ArgumentError, match="'bn', but the decoder was made for 'alignment'"):
        make_pipeline(LinearDecoder(2), "bn")


@KINDS
def test_a_session_goes_on_from_what_was_saved(decoders, kind):
    first = make_pipeline(decoders[kind], kind)
    first.advance(Chunk(SAMPLES, TIMES))
    saved = first.saved_adaptation()
    again = make_pipeline(decoders[kind], kind, state=SavedAdaptation.from_bytes(saved.to_bytes()).to_text())
    assert_same(tensors_of(again), tensors_of(first))
    np.testing.assert_array_equal(again.alignment.state.covariance, first.alignment.state.covariance)
    assert again.learner.drift == first.learner.drift
    predictions = again.process(Chunk(SAMPLES[:300], TIMES[:300]))
    assert not predictions[0].reasons & Reason.ALIGNING


def test_what_another_model_learnt_is_refused(decoders, tmp_path):
    other = load_bundle(random_bundle(tmp_path / "other", CONTRACT, seed=1))
    learnt = make_pipeline(AdaptiveDecoder(other, "bn", "a test", PACE), "bn").saved_adaptation()
    with pytest.raises(ContractError, match="not one of this model"):
        make_pipeline(decoders["bn"], "bn", state=learnt.to_text())
