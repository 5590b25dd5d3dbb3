"""The capacity model is fitted as it says, and the simulation of many machines follows from it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import simpy

from benchmarks import capacity, scale_simulation
from benchmarks.scale_simulation import Costs, Server, failures, predictions, recovery, rendezvous

COSTS = Costs.of(json.loads(scale_simulation.MODEL.read_text()))


def test_the_fit_finds_what_setups_are_made_of():
    true = {figure: {name: 0.1 * (i + 1) for i, name in enumerate(terms)} for figure, terms in capacity.MODEL.items()}
    setups = [
        capacity.Setup(streams, count, workers) for streams, workers, clients in capacity.FITTED for count in clients
    ]
    rows = [(one, {figure: capacity.predict(true, figure, one) for figure in true}) for one in setups]

    found = capacity.fit(rows)

    for figure, terms in true.items():
        assert found[figure] == pytest.approx(terms, rel=1e-6)


def test_repeats_are_reduced_to_medians_and_a_search_to_its_parts():
    one = capacity.Setup(1, 2)
    assert capacity.medians([(one, {"x": 1.0}), (one, {"x": 9.0}), (one, {"x": 2.0})]) == [(one, {"x": 2.0})]
    rows = [{"outlets": n, "cores": 1 + 2.0 * n, "bytes": 3.0 * n, "datagrams": 5.0} for n in (8, 40)]
    found = capacity.search(rows)
    assert found["cores"] == {"alone": 1.0, "per outlet": 2.0}
    assert found["datagrams"] == {"alone": 5.0, "per outlet": 0.0}


def test_a_setup_that_is_held_back_is_none_of_those_fitted():
    assert not set(capacity.HELD_BACK) & set(capacity.FITTED)


def test_a_server_serves_what_comes_first():
    env, done = simpy.Environment(), []
    server = Server(env)

    def work(name: str, at: float, seconds: float):
        yield env.timeout(at)
        yield server.serve(seconds)
        done.append((name, env.now))

    for job in (("late", 1.0, 1.0), ("first", 0.0, 3.0), ("last", 5.0, 0.5)):
        env.process(work(*job))
    env.run()
    assert done == [("first", 3.0), ("late", 4.0), ("last", 5.5)]
    assert server.busy == 4.5


def test_the_simulation_repeats_itself_and_a_gateway_has_the_limit_that_its_costs_give():
    limit = scale_simulation.PERIOD_S / (COSTS.burst + scale_simulation.CLIENTS * COSTS.relayed)
    below = predictions(COSTS, round(0.7 * limit), 1, lambda _: 0)
    above = predictions(COSTS, round(1.6 * limit), 1, lambda _: 0)

    assert below == predictions(COSTS, round(0.7 * limit), 1, lambda _: 0)
    assert below.delivered > 0.99
    assert below.gateway == pytest.approx(0.7, abs=0.03)
    assert above.gateway > 1
    assert above.delivered < 0.8
    assert above.p99 > 10 * below.p99


def test_another_gateway_takes_only_its_share_of_the_streams():
    names = [f"s{number}" for number in range(600)]
    before, after = ([rendezvous(name, gateways) for name in names] for gateways in (5, 6))
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {5}
    assert 60 < len(moved) < 140


def test_recovery_takes_longer_where_more_has_to_start_or_answers():
    killed, *_, rooms, together = failures(COSTS)
    first, last = recovery(COSTS, killed, 50)
    assert first == last > 0.5 + COSTS.start
    assert recovery(COSTS, replace(killed, workers=2), 50)[1] == pytest.approx(last)  # on two cores
    assert recovery(COSTS, replace(killed, workers=4), 50)[1] > last
    assert recovery(COSTS, together, 50)[1] > recovery(COSTS, rooms, 50)[1] > last
