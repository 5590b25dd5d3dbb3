"""braindecode's own tests of AttentionBaseNet, with ours in the place of theirs.

    git clone --depth 1 https://github.com/braindecode/braindecode
    pip install './braindecode' pytest
    python benchmarks/braindecode_tests.py ./braindecode [options of pytest]

The class is replaced everywhere in braindecode before its tests are collected, and those that concern it run. braindecode
imports torchaudio, which AttentionBaseNet does not use; where it cannot be imported an empty module takes its place.
The last line counts what passed, and every test that was skipped is named with its reason.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mindwire_models import AttentionBaseNet
from mindwire_models.external_sources.braindecode_folders import stand_in_for_torchaudio

NAME = AttentionBaseNet.__name__
TESTS = ("test_models.py", "test_integration.py", "test_huggingface.py", "test_return_features.py")
# Tests of all models that are not parametrised by one, and of the base class, which ours does not have.
_ALL_MODELS = ("test_completeness__models_test_cases",)


def replace_network() -> None:
    """Put our class wherever braindecode has its own."""
    models = importlib.import_module("braindecode.models")
    theirs = getattr(models, NAME)
    for name, module in list(sys.modules.items()):
        if name.startswith("braindecode"):
            for key, value in list(vars(module).items()):
                if value is theirs:
                    setattr(module, key, AttentionBaseNet)
                elif isinstance(value, dict) and value.get(NAME) is theirs:
                    value[NAME] = AttentionBaseNet


class Selection:
    """Keeps the tests of our class, and counts what became of them."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give the tests of features our class too, which braindecode's own does not return."""
        listed = getattr(metafunc.module, "_MODELS", None)
        if listed is not None and all(parameters.id != NAME for parameters in listed):
            listed.append(pytest.param(AttentionBaseNet, 22, {}, False, id=NAME))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Drop the tests of other models."""
        wanted = [item for item in items if NAME.lower() in item.nodeid.lower() or item.name in _ALL_MODELS]
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = wanted

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note why a test was skipped."""
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped.append(f"{report.nodeid}: {reason}")


def main(checkout: str, *options: str) -> int:
    """Run the tests; returns pytest's exit status."""
    root = Path(checkout).resolve()
    folder = root / "test" / "unit_tests" / "models"
    if not folder.is_dir():
        print(f"Expected a checkout of braindecode, found no {folder}; clone it as this script's first lines say.")
        return 2
    sys.path.insert(0, str(root))
    stand_in_for_torchaudio()
    replace_network()
    selection = Selection()
    files = [str(folder / name) for name in TESTS]
    status = pytest.main(
        ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", f"--rootdir={root}", *files, *options], [selection]
    )
    for line in selection.skipped:
        print("skipped:", line)
    train_with_eegclassifier()
    return int(status)


def train_with_eegclassifier() -> None:
    """Train ours with braindecode's EEGClassifier, which must learn which of two channels is louder."""
    classifier = importlib.import_module("braindecode").EEGClassifier
    rng = np.random.default_rng(1)
    labels = np.arange(64) % 2
    windows = rng.standard_normal((64, 2, 256)).astype(np.float32)
    windows[np.arange(64), labels] *= 4
    torch.manual_seed(1)
    trained = classifier(
        AttentionBaseNet,
        module__n_outputs=2,
        module__n_chans=2,
        module__n_times=256,
        optimizer=torch.optim.AdamW,
        optimizer__lr=3e-3,
        train_split=None,
        batch_size=32,
        max_epochs=60,
        verbose=0,
    ).fit(windows, labels)
    print(
        f"EEGClassifier: {np.mean(trained.predict(windows) == labels):.0%} of the training windows right after 60 epochs"
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
