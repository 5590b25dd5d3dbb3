from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import ContractError
from mindwire.signal.montage import normalise_label, parse_unit, resolve_montage
from mindwire_models.contract import NoNormalisation
from tests.support.signals import signal_info, small_contract


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("T3", "T7"),
        ("T6", "P8"),
        ("FP1", "Fp1"),
        ("Cz..", "CZ"),
        ("EEG C3-REF", "c3"),
        ("EEG Fz-LE", "Fz"),
        (" C4 ", "C4"),
    ],
)
def test_spellings_of_one_electrode_are_one(one, other):
    assert normalise_label(one) == normalise_label(other)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("microvolts", "uV"),
        ("µV", "uV"),
        ("μV", "uV"),
        ("uV", "uV"),
        ("mV", "mV"),
        ("Volts", "V"),
        ("nV", "nV"),
        ("counts", None),
        ("", None),
        ("MV ", "mV"),
    ],
)
def test_units_as_users_write_them(text, unit):
    assert parse_unit(text) == unit


def test_selects_reorders_and_converts():
    info = signal_info(n_channels=5, labels=("C4", "EOG", "cz.", "C3", "Pz"), units=("V", "uV", "mV", "uV", "uV"))
    montage = resolve_montage(small_contract(), info)
    row = montage.apply(np.array([[1e-6, 5.0, 2e-3, 3.0, 9.0]], dtype=np.float32))
    np.testing.assert_allclose(row, [[3.0, 2.0, 1.0]], rtol=1e-6)


def test_missing_channels_are_named():
    with pytest.raises(ContractError, match=r"lacks Cz, C4; it has C3, Oz"):
        resolve_montage(small_contract(), signal_info(n_channels=2, labels=("C3", "Oz"), units=None))


def test_a_label_twice_is_refused():
    with pytest.raises(ContractError, match="more than one channel called C3"):
        resolve_montage(small_contract(), signal_info(n_channels=4, labels=("C3", "c3", "Cz", "C4"), units=("uV",) * 4))


def test_never_by_position_unless_the_user_says_so():
    bare = signal_info(n_channels=4, labels=None, units=("uV",) * 4)
    with pytest.raises(ContractError, match="--channels"):
        resolve_montage(small_contract(), bare)
    montage = resolve_montage(small_contract(), bare, channels=("C4", "Cz", "C3"))
    assert montage.indices.tolist() == [2, 1, 0]
    with pytest.raises(ContractError, match="names 5 channels, but"):
        resolve_montage(small_contract(), bare, channels=("C4", "Cz", "C3", "A", "B"))


def test_unknown_units_are_refused_unless_given():
    for units in (None, ("counts",) * 3):
        with pytest.raises(ContractError, match="--unit"):
            resolve_montage(small_contract(), signal_info(units=units))
    montage = resolve_montage(small_contract(), signal_info(units=("counts",) * 3), unit="mV")
    np.testing.assert_allclose(montage.scale, 1e3)
    with pytest.raises(ContractError, match="'furlong' is unknown"):
        resolve_montage(small_contract(), signal_info(), unit="furlong")


def test_a_bare_stream_named_by_the_user_needs_no_unit_where_alignment_cancels_it():
    bare = signal_info(labels=None, units=None)
    montage = resolve_montage(small_contract(), bare, channels=("C3", "Cz", "C4"))
    assert "assumed" in montage.note
    with pytest.raises(ContractError, match="--unit"):
        resolve_montage(small_contract(normalisation=NoNormalisation()), bare, channels=("C3", "Cz", "C4"))
