"""Channel names: mistyped lists are refused, what a model does not use is named, an unknown cap is not reduced."""

from __future__ import annotations

import pytest

from mindwire.errors import ContractError, UsageError
from mindwire.options import PipelineOptions
from mindwire.signal.montage import resolve_montage
from mindwire.signal.named_channels import check_labels, electrodes, left_out_note, split_labels
from mindwire.training.contract import make_contract
from mindwire.types import SignalInfo
from tests.support.signals import small_contract


def made_info(*labels: str, types: tuple[str, ...] | None = None) -> SignalInfo:
    return SignalInfo(
        name="cap",
        type="EEG",
        sfreq=100.0,
        n_channels=len(labels),
        labels=labels,
        units=("uV",) * len(labels),
        types=types,
    )


def test_empty_labels_keep_their_position() -> None:
    assert split_labels("C3, C4,,Cz") == ["C3", "C4", "", "Cz"]
    assert split_labels("C3,C4,") == ["C3", "C4"]
    assert split_labels(None) is None


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("C3;C4;Cz",), "separated by commas, as in C3,Cz,C4; found 'C3;C4;Cz'"),
        (("C3 C4",), "separated by commas"),
        (("C3\tC4",), "separated by commas"),
        (("C3", "", "Cz"), "a label is empty"),
        ((), "a label is empty"),
        (("C3", "Cz", "c3"), "gives C3, c3 more than once"),
        (("T7", "T3"), "gives T3, T7 more than once"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(labels: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        PipelineOptions(channels=labels)


def test_other_labels_are_taken() -> None:
    check_labels(("EEG C3", "C4-A1", "-", "-", "x", "left eye", "E12"), "--channels")


@pytest.mark.parametrize(
    ("labels", "taken"),
    [
        (("C3", "C4", "Iz", "Nz", "I1", "I2"), ("C3", "C4", "Iz", "Nz", "I1", "I2")),
        (("C3", "C4", "A1", "odd"), ("C3", "C4")),
        (("E1", "E2", "E3"), ("E1", "E2", "E3")),
    ],
)
def test_electrodes_are_those_with_a_place_or_all(labels: tuple[str, ...], taken: tuple[str, ...]) -> None:
    assert electrodes("cap", labels) == taken


def test_a_cap_of_mostly_unknown_names_is_not_reduced_to_the_known_ones() -> None:
    info = made_info("C3", "C4", *(f"E{i}" for i in range(1, 63)))
    with pytest.raises(
        ContractError, match=r"64 EEG channels, and only C3, C4 are names .* E12 and 50 more\); .*--pick all"
    ):
        make_contract(None, info, ("a", "b"))
    for pick, n in ((["C3", "C4"], 2), (["E1", "C3", "E2"], 3), (["all"], 64)):
        assert make_contract(None, info, ("a", "b"), pick=pick).n_channels == n


def test_a_pick_that_the_recording_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="--pick names XX, which the recording lacks; it has C3, C4"):
        make_contract(None, made_info("C3", "C4"), ("a", "b"), pick=["C3", "XX"])
    with pytest.raises(UsageError, match="--pick: labels are separated by commas"):
        make_contract(None, made_info("C3", "C4"), ("a", "b"), pick=["C3;C4"])


def test_what_is_left_out_is_named_with_the_reason() -> None:
    info = made_info("C3", "C4", "A1", "odd", "VEOG", types=("EEG",) * 4 + ("EOG",))
    assert left_out_note(info, ("C3", "C4"), None) == (
        "Channels left out, not EEG: VEOG; reference: A1; no place on the head: odd."
    )
    # What has a place was left out by choice.
    assert left_out_note(made_info("C3", "C4"), ("C3",), None) is None
    assert left_out_note(made_info("?", "?", "?"), ("C3",), ("C3", "-", "odd")) == (
        "Channels left out, no place on the head: odd."
    )


def test_fewer_names_than_channels_are_told() -> None:
    contract = small_contract()
    info = made_info(*(f"{i}" for i in range(contract.n_channels + 3)))
    note = resolve_montage(contract, info, contract.channels).note
    assert f"'cap' has {info.n_channels} channels, {contract.n_channels} are named; 3 unused." in note
    assert resolve_montage(contract, made_info(*contract.channels), contract.channels).note == ""
