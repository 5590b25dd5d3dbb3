"""Fixtures of the tests of bundles: one small bundle, and a copy of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mindwire_models.export import export_bundle
    from tests.support.networks import make_contract, make_network

    network = make_network()
    folder = tmp_path_factory.mktemp("bundles") / "small"
    export_bundle(network, make_contract(network), folder, name="small", provenance="For tests.")
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "bundle"))
