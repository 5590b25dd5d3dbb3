"""``kill -9`` while the configuration changes: the settings file is the old or the new one, and the service comes back with it."""

from __future__ import annotations

import random
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from mindwire.control.policy import ControlPolicy
from tests.support.bundles import random_bundle
from tests.support.service_process import service
from tests.support.streaming import contract, unique

pytest.importorskip("torch")

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("crashes") / "bundle", contract(window_samples=200))


def change_of(rng: random.Random, specs: list[dict], number: int):
    """A change: the request, and the streams after it."""
    by_id = {spec["id"]: spec for spec in specs}
    name = rng.choice([*by_id, "new"])
    if name == "new":
        spec = {"id": f"s{number}", "name": unique("none"), "hop": number + 1}
        return ("POST", "/v1/streams", spec), [*specs, spec]
    path = f"/v1/streams/{name}"
    if len(specs) > 2 and rng.random() < 0.5:
        return ("DELETE", path, None), [spec for spec in specs if spec["id"] != name]
    policy = ControlPolicy(decide={"commit": 0.7 + number / 100}).model_dump(mode="json", exclude_none=True)
    fields = rng.choice([{"hop": number + 100}, {"control": policy, "paused": True}, {"unit": "mV"}])
    return ("PATCH", path, fields), [{**spec, **fields} if spec["id"] == name else spec for spec in specs]


def crash_again_and_again(folder, bundle, workers: int, rounds: int, seed: int) -> list[bool]:
    """Kill a service in so many changes; whether each was in the file."""
    rng = random.Random(seed)
    file = folder / "clinic.toml"
    specs = [{"id": f"first{number}", "name": unique("none")} for number in range(2)]
    lines = [f'[[stream]]\nid = "{spec["id"]}"\nname = "{spec["name"]}"\n' for spec in specs]
    file.write_text(f'model = "{bundle}"\nworkers = {workers}\nlsl_outlet = false\n' + "".join(lines))
    kept = []
    for number in range(rounds + 1):
        with (
            service("--config", file, "--save-config") as running,
            httpx.Client(base_url=f"http://{running.address()}", timeout=20, headers=JSON) as rest,
        ):
            assert rest.get("/v1/config").json()["stream"] == specs
            assert [stream["name"] for stream in rest.get("/v1/streams").json()] == [spec["id"] for spec in specs]
            if number == rounds:
                return kept
            (method, path, body), after = change_of(rng, specs, number)

            def send(method=method, path=path, body=body, rest=rest):
                with suppress(httpx.TransportError):
                    rest.request(method, path, json=body, headers=JSON)

            sender = threading.Thread(target=send)
            sender.start()
            time.sleep(rng.uniform(0, 0.05 * workers))
            running.process.kill()
            running.process.wait(10)
            sender.join(30)
        written = tomllib.loads(file.read_text())
        assert written["stream"] in (specs, after)
        assert written["model"] == str(bundle)
        kept.append(written["stream"] == after)
        specs = written["stream"]
    return kept


def test_a_crash_leaves_the_old_configuration_or_the_new_one(bundle, tmp_path):
    """Twenty changes, each with a kill at a random moment of it."""
    folders = [tmp_path / "alone", tmp_path / "gateway"]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        alone = pool.submit(crash_again_and_again, folders[0], bundle, 1, 16, 1)
        gateway = pool.submit(crash_again_and_again, folders[1], bundle, 2, 4, 2)
        kept = alone.result() + gateway.result()
    print(f"{sum(kept)} of {len(kept)} changes were in the file")
    assert len(kept) == 20
