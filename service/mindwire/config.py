"""The settings of ``mindwire serve``: flags before environment (``MINDWIRE_…``) before a TOML file."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mindwire.errors import UsageError
from mindwire.setting_errors import describe_error, did_you_mean, unknown_variables
from mindwire.signal.labels import parse_unit
from mindwire.signal.named_channels import check_labels, split_labels

ENV_PREFIX = "MINDWIRE_"
MIN_TOKEN = 8
_KEYS = ("id", "name", "type", "source_id", "hostname", "predicate", "model", "hop", "unit")
_NEXT_KEY = re.compile(rf",\s*(?=(?:{'|'.join(_KEYS)})\s*=)")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _words(value: Any) -> Any:
    """Comma-separated text, as flags and the environment have it, as a list."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _labels(value: Any) -> Any:
    """Channel labels; one that is empty stands for a position, and is not dropped."""
    labels = split_labels(value) if isinstance(value, str) else value
    if isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels):
        try:
            check_labels(labels, "channels")
        except UsageError as error:
            raise ValueError(str(error)) from error
    return labels


Labels = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_labels)]


def _unit(value: str) -> str:
    if parse_unit(value) is None:
        msg = f"{value!r} is no unit of voltage; expected V, mV, uV or nV"
        raise ValueError(msg)
    return value


Unit = Annotated[str, AfterValidator(_unit)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class StreamSpec(BaseModel):
    """One stream: how to find its source, and what differs from the general settings.

    Parameters
    ----------
    id : str
        Name of the stream in the service; derived from the rest when not given.
    name, type, source_id, hostname : str or None
        What the LSL stream must have.
    predicate : str or None
        An XPath 1.0 predicate that the LSL stream must fulfil.
    model : Path or None
        Bundle for this stream.
    hop : int or None
        Distance between windows in conditioned samples for this stream.
    channels : tuple of str or None
        Labels by position for this stream.
    unit : str or None
        Unit of this stream's samples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    name: str | None = None
    type: str | None = None
    source_id: str | None = None
    hostname: str | None = None
    predicate: str | None = None
    model: Path | None = None
    hop: Annotated[int, Field(ge=1)] | None = None
    channels: Annotated[tuple[str, ...], BeforeValidator(_labels)] | None = None
    unit: Unit | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return parse_stream(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> Self:
        said = (self.name, self.type, self.source_id, self.hostname, self.predicate)
        if not any(said):
            msg = "say which LSL stream is meant by name, type, source_id, hostname or predicate"
            raise ValueError(msg)
        if not self.id:
            object.__setattr__(self, "id", stream_id(self.name or self.source_id or self.type or "") or "eeg")
        if not _ID.fullmatch(self.id):
            msg = f"the id {self.id!r} may hold only letters, digits, '.', '_' and '-', and begins with one of the first two"
            raise ValueError(msg)
        return self


def stream_id(text: str) -> str:
    """A name for a stream made of other text; empty where nothing of it can stand in one."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64]


def parse_stream(text: str) -> dict[str, str]:
    """Read ``name=…,type=…,source_id=…``; ``predicate=`` takes the rest of the text, commas and all.

    Raises
    ------
    ValueError
        A part is no ``key=value``, or the key is unknown or given twice.
    """
    head, marker, predicate = _split_predicate(text)
    parts = _NEXT_KEY.split(head) if head else []
    spec: dict[str, str] = {}
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in _KEYS:
            meant = did_you_mean(key, _KEYS) if equals else f"; do you mean name={part}?"
            msg = f"expected {', '.join(f'{known}=…' for known in _KEYS)} separated by commas, found {part!r}{meant}"
            raise ValueError(msg)
        if key in spec:
            msg = f"{key} is given twice"
            raise ValueError(msg)
        spec[key] = value
    if marker:
        spec["predicate"] = predicate
    return spec


def _split_predicate(text: str) -> tuple[str, str, str]:
    match = re.search(r"(?:^|,)\s*predicate\s*=", text)
    if match is None:
        return text.strip(), "", ""
    return text[: match.start()].strip(), "predicate", text[match.end() :].strip()


def _streams(value: Any) -> Any:
    """Several streams in one text, as the environment has them, are separated by semicolons."""
    if isinstance(value, str):
        return [part for part in (piece.strip() for piece in value.split(";")) if part]
    return value


class Settings(BaseSettings):
    """Everything that ``mindwire serve`` can be told.

    Parameters
    ----------
    model : Path or None
        The bundle.
    stream : tuple of StreamSpec
        The streams to decode.
    host, port
        Where to listen; other than loopback takes a token.
    token : str or None
        Demanded of every client.
    token_file : Path or None
        A file that holds the token, which other users see in the process list when it is a flag.
    allow_host, allow_origin : tuple of str
        Host names and web pages' origins that may connect beside the loopback ones.
    device, engine
        What runs the model.
    hop : int or None
        Distance between windows in conditioned samples; the contract's when None.
    channels : tuple of str or None
        Labels by position, for a source that names none.
    unit : str or None
        Unit of the samples, for a source that states none or a wrong one.
    rate : float or None
        Rate the sources are taken to have, in hertz, where their nominal rate is known to be wrong.
    bad_channels
        What becomes of flat, saturated or otherwise bad channels.
    bridge_ms : float
        Gaps up to this are bridged and flagged; longer ones start afresh.
    adapt
        What of the decoder follows the person: the alignment alone, BatchNorm statistics too, or also weights.
    adaptation_state : Path or None
        Where what was learnt is kept: begun with where it exists, written at the end.
    warm_start : Path or None
        A recording at rest, or a kept state, to begin the alignment with.
    wait : bool
        Whether a stream that is absent at the start is waited for.
    max_backlog : float
        Seconds of overdue windows above which all but the newest are skipped.
    stale_after : float
        Seconds of silence after which a stream is stale.
    workers : int
        Processes that share the streams; 0 for one per core.
    batch_wait_ms : float
        How long a window waits, at most, to be decoded together with those of other streams.
    lsl_outlet : bool
        Whether predictions go out over LSL too.
    record : Path or None
        Folder for recordings of everything the streams see and say.
    marker_stream : tuple of str
        Names or source_ids of marker streams to show; those of the source's host unless given.
    log_level
        What is logged on standard error.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    model: Path | None = None
    stream: Annotated[tuple[StreamSpec, ...], NoDecode, BeforeValidator(_streams)] = ()
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    token: Annotated[str, Field(min_length=MIN_TOKEN)] | None = None
    token_file: Path | None = None
    allow_host: Words = ()
    allow_origin: Words = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["auto", "onnxruntime", "torch"] = "auto"
    hop: Annotated[int, Field(ge=1)] | None = None
    channels: Labels | None = None
    unit: Unit | None = None
    rate: Annotated[float, Field(gt=0)] | None = None
    bad_channels: Literal["auto", "interpolate", "invalidate"] = "auto"
    bridge_ms: Annotated[float, Field(ge=0, le=1000)] = 40.0
    adapt: Literal["alignment", "bn", "entropy"] = "alignment"
    adaptation_state: Path | None = None
    warm_start: Path | None = None
    wait: bool = True
    max_backlog: Annotated[float, Field(gt=0)] = 1.0
    stale_after: Annotated[float, Field(gt=0)] = 2.0
    workers: Annotated[int, Field(ge=0, le=256)] = 1
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    lsl_outlet: bool = True
    record: Path | None = None
    marker_stream: Words = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            msg = "token and token_file are both given; leave one of them out"
            raise ValueError(msg)
        return self

    @field_validator("stream")
    @classmethod
    def _ids_differ(cls, streams: tuple[StreamSpec, ...]) -> tuple[StreamSpec, ...]:
        ids = [spec.id.casefold() for spec in streams]
        twice = sorted({spec.id for spec in streams if ids.count(spec.id.casefold()) > 1})
        if twice:
            msg = f"two streams would be called {twice[0]!r}; give each a name of its own with id=…"
            raise ValueError(msg)
        return streams

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before environment before file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def to_toml(self) -> str:
        """The settings as TOML that reads back to the same, but for the token, which is not shown."""
        lines = []
        for key, value in self.model_dump(mode="json", exclude={"stream"}, exclude_none=True).items():
            shown = "hidden" if key == "token" else value
            lines.append(f"{'# ' if key == 'token' else ''}{key} = {json.dumps(shown, ensure_ascii=False)}")
        for spec in self.model_dump(mode="json", exclude_none=True)["stream"]:
            lines += ["", "[[stream]]"]
            lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in spec.items()]
        return "\n".join(lines) + "\n"


def load_settings(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """The settings in force.

    Parameters
    ----------
    flags : mapping
        What the command line says; None values were not said.
    config : Path or None
        A TOML file.

    Returns
    -------
    Settings

    Raises
    ------
    UsageError
        The file cannot be read, or a setting is unknown or wrong.
    """
    if config is not None:
        _check_file(config)
    for sentence in unknown_variables(ENV_PREFIX, tuple(Settings.model_fields)):
        print(f"mindwire: {sentence}", file=sys.stderr)  # noqa: T201 - logging is set up by what is read here

    class Loaded(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        return Loaded(**{key: value for key, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        known = tuple((StreamSpec if len(first["loc"]) > 1 else Settings).model_fields)
        msg = describe_error(first, flags=flags, prefix=ENV_PREFIX, config=config, known=known)
        raise UsageError(msg) from error


def _check_file(config: Path) -> None:
    try:
        tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The settings file {config} cannot be read ({error.strerror}); check the path after --config."
        raise UsageError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"The settings file {config} is not valid TOML ({error})."
        raise UsageError(msg) from error
