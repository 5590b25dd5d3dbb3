from __future__ import annotations

import pytest

from mindwire.signal.labels import bare_label, eeg_channels, normalise_label, parse_unit
from mindwire.training.contract import make_contract
from mindwire_models.electrodes import position
from tests.support.signals import signal_info


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("uVolt", "uV"),
        ("uVolts", "uV"),
        ("uVolt(s)", "uV"),
        ("microvolt(s)", "uV"),
        ("µVolt", "uV"),
        ("microV", "uV"),
        ("micro volts", "uV"),
        ("micro-Volt", "uV"),
        ("\ufffdV", "uV"),
        ("ÂµV", "uV"),
        ("0", "V"),
        ("-3", "mV"),
        ("-6", "uV"),
        ("1e-06", "uV"),
        ("-9", "nV"),
        ("milliVolts", "mV"),
        ("10^-6 V", "uV"),
        ("10e-6 V", "uV"),
        ("1e-6 V", "uV"),
        ("1E-06V", "uV"),
        ("10^-3 Volts", "mV"),
        ("10^(-9)V", "nV"),
        ("10⁻⁶ V", "uV"),
        ("10**-6 V", "uV"),
        ("1e-12 V", None),
        ("1e0 V", "V"),
        ("μvolt", "uV"),
        ("Volt", "V"),
        ("2", None),
        ("nan", None),
        ("deg/s", None),
        ("g", None),
        ("bool", None),
        ("uV/s", None),
        ("none", None),
    ],
)
def test_units_as_devices_write_them(text, unit):
    assert parse_unit(text) == unit


@pytest.mark.parametrize(
    ("label", "electrode"),
    [
        ("EEG C3-CPz", "c3"),
        ("EEG C3-LE", "c3"),
        ("FP1", "fp1"),
        ("Fc5.", "fc5"),
        ("C3-A1A2", "c3"),
        ("EEG T3 - Ref", "t7"),
        ("Cz-Pz", "cz"),
        ("FP1-F7", "fp1-f7"),
        ("EEG 1", "1"),
        ("Ref", "ref"),
    ],
)
def test_electrodes_are_found_under_their_decoration(label, electrode):
    assert normalise_label(label) == electrode


def test_a_bare_label_keeps_its_case():
    assert bare_label("EEG FCz-CPz") == "FCz"


def unicorn(**changes):
    labels = tuple([f"EEG {i}" for i in range(1, 9)] + ["Acc X", "Gyr X", "Counter", "Battery Level", "Validation"])
    units = ("microvolts",) * 8 + ("g", "deg/s", "count", "percent", "bool")
    return signal_info(n_channels=13, **{"labels": labels, "units": units, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": tuple(f"x{i}" for i in range(13))},
        {"units": None},
        {"labels": tuple(f"x{i}" for i in range(13)), "units": None, "types": ("EEG",) * 8 + ("Acc",) * 5},
    ],
)
def test_only_eeg_is_taken_of_an_amplifiers_stream(changes):
    assert eeg_channels(unicorn(**changes)) == list(range(8))


def test_a_model_of_an_amplifiers_stream_needs_no_unit_of_its_other_channels():
    contract = make_contract(None, unicorn(), ("a", "b"))
    assert contract.channels == tuple("12345678")
    labels = ("Fz", "C3", "Cz", "C4", "Pz", "PO7", "Oz", "PO8", *unicorn().labels[8:])
    assert len(make_contract(None, unicorn(labels=labels), ("a", "b")).channels) == 8


def test_types_that_tell_nothing_leave_every_channel():
    assert eeg_channels(signal_info(types=("x", "y", "z"))) == [0, 1, 2]
    assert eeg_channels(signal_info(labels=None, units=None)) == [0, 1, 2]
    assert eeg_channels(signal_info(types=("EEG", "EOG", "eeg"))) == [0, 2]


@pytest.mark.parametrize("label", ["Iz", "Nz", "I1", "I2", "AFF1h", "FFC5h", "CPP6h", "PPO9h", "TTP8h", "AFp1"])
def test_the_lowest_and_the_finer_electrodes_have_a_place(label):
    assert abs((position(label) ** 2).sum() - 1) < 1e-9


def test_finer_electrodes_lie_between_their_neighbours():
    for label, *neighbours in (("FFC1h", "Fz", "FCz", "F1", "FC1"), ("CCP4h", "C4", "C2", "CP4", "CP2")):
        middle = sum(position(one) for one in neighbours)
        assert position(label) @ middle / (middle @ middle) ** 0.5 > 0.99
