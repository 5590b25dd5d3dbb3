"""Files for clusters and servers in docker/: compose, KubeRay, systemd, nginx; complete schemas where the environment names them."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
UNITS = sorted((DOCKER / "systemd").glob("*.service"))
COMPOSE = [DOCKER / name for name in ("compose.yaml", "compose.ray.yaml", "monitoring.yaml")]
# Files of the compose specification (schema/compose-spec.json) and of KubeRay (config/crd/bases/ray.io_rayclusters.yaml),
# which are too large to be copied here.
COMPOSE_SCHEMA, CRD = os.environ.get("COMPOSE_SCHEMA"), os.environ.get("KUBERAY_CRD")
UID = 10001


def compose_schema() -> dict[str, Any]:
    return json.loads(Path(COMPOSE_SCHEMA).read_text())


def crd_schema() -> dict[str, Any]:
    """The schema of a RayCluster, which here refuses fields that it does not name."""
    versions = yaml.safe_load(Path(CRD).read_text())["spec"]["versions"]
    (schema,) = (one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == "v1")

    def strict(part: Any) -> None:
        if isinstance(part, dict):
            if "properties" in part and "additionalProperties" not in part:
                part["additionalProperties"] = part.get("x-kubernetes-preserve-unknown-fields", False)
            if part.get("format") in {"int32", "int64"}:  # no formats of JSON schema
                del part["format"]
        for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            strict(one)

    strict(schema)
    return {**schema, "properties": {**schema["properties"], "metadata": {"type": "object"}}}


def faults(schema: dict[str, Any], document: Any) -> list[str]:
    found = jsonschema_rs.validator_for(schema).iter_errors(document)
    return [f"{list(one.instance_path)}: {one.message}" for one in found]


@pytest.mark.skipif(not COMPOSE_SCHEMA, reason="COMPOSE_SCHEMA names no file")
@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_have_their_schema(path):
    document = yaml.safe_load(path.read_text())
    assert faults(compose_schema(), document) == []
    next(iter(document["services"].values()))["read_olny"] = True
    assert faults(compose_schema(), document)


@pytest.mark.skipif(not CRD, reason="KUBERAY_CRD names no file")
def test_the_manifest_has_the_schema_of_kuberay():
    cluster = cluster_of_rays()
    assert faults(crd_schema(), cluster) == []
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imge"] = ""
    assert faults(crd_schema(), cluster)


def test_containers_of_a_cluster_write_nowhere_and_have_no_rights():
    document = yaml.safe_load((DOCKER / "compose.ray.yaml").read_text())
    assert set(document["services"]) == {"gateway", "node"}
    for name, service in document["services"].items():
        assert service["profiles"] == [name]
        assert service["build"]["args"] == {"EXTRAS": "ray"}
        assert (service["network_mode"], service["read_only"], service["cap_drop"]) == ("host", True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert set(service["secrets"]) <= set(document["secrets"])
        assert (DOCKER / service["volumes"][0].split(":")[0]).is_file()
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        checked = subprocess.run(
            ["sh", "-n"], input=service["command"][0].replace("$$", "$"), text=True, check=False, capture_output=True
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_the_image_can_have_the_extra_that_a_cluster_needs():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "\nARG EXTRAS=\n" in dockerfile
    assert 'pip install --no-cache-dir ".${EXTRAS:+[${EXTRAS}]}"' in dockerfile
    assert f"\nUSER {UID}\n" in dockerfile


def cluster_of_rays() -> dict[str, Any]:
    cluster, config, service = yaml.safe_load_all((DOCKER / "kuberay.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert (config["kind"], service["kind"]) == ("ConfigMap", "Service")
    return cluster


def test_pods_of_kuberay_write_nowhere_have_no_rights_and_name_what_exists():
    cluster, config, service = yaml.safe_load_all((DOCKER / "kuberay.yaml").read_text())
    head, (nodes,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert head["rayStartParams"]["num-cpus"] == "0"
    for group in (head, nodes):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == UID
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False)
            assert rights["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            assert set(mounts) <= set(volumes)
            assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"tmp", "shm"}
            assert container["readinessProbe"]
            assert container["livenessProbe"]
    gateway = head["template"]["spec"]["containers"][1]
    assert head["template"]["spec"]["containers"][0]["name"] == "ray-head"  # the operator takes the first
    assert {"name": "http", "containerPort": 8000} in gateway["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert nodes["template"]["spec"]["hostNetwork"] is True  # for multicast
    parsed = configparser.ConfigParser()
    parsed.read_string(config["data"]["lsl_api.cfg"])
    assert dict(parsed["lab"]) == {"knownpeers": "{}"}
    assert {"configMap": {"name": config["metadata"]["name"]}, "name": "lsl"} in nodes["template"]["spec"]["volumes"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_units_run_our_commands_without_rights(unit):
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    (command,) = found["ExecStart"]
    program, verb, *options = command.split()
    assert Path(program).name in {"mindwire", "ray"}
    assert verb in {"serve", "start"}
    assert options
    assert found["User"] == ["mindwire"]
    assert (found["ProtectSystem"], found["NoNewPrivileges"], found["CapabilityBoundingSet"]) == (
        ["strict"],
        ["yes"],
        [""],
    )
    assert found["Restart"] in (["always"], ["on-failure"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_units_are_what_systemd_understands(tmp_path):
    for unit in UNITS:
        # the programs are not installed where the tests run
        (tmp_path / unit.name).write_text(re.sub(r"/opt/mindwire/bin/\w+", "/bin/true", unit.read_text()))
    copies = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line]
