"""The settings of ``mindwire serve``: flags before environment (``MINDWIRE_…``) before a TOML file."""

import json
import os
import re
import sys
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
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from mindwire.control.policy import ControlPolicy, parse_policy
from mindwire.errors import PolicyError, UsageError
from mindwire.session_names import MODELS, Participant
from mindwire.setting_errors import describe_error, describe_field, did_you_mean, unknown_variables
from mindwire.signal.labels import parse_unit
from mindwire.signal.named_channels import check_labels, split_labels

ENV_PREFIX = "MINDWIRE_"
MIN_TOKEN = 8
# Settings that are shown nowhere and that no other process gets.
SECRETS = frozenset({"token", "read_token"})
_SOURCE = ("name", "type", "source_id", "hostname", "predicate")
# Values that a stream may have of its own, in place of the general settings of the same name.
_OWN = ("model", "control", "hop", "channels", "unit", "rate", "adapt", "lsl_outlet", "osc")
_MORE = ("adaptation_state", "record", "participant", "node", "paused")
_KEYS = ("id", *_SOURCE, *(key for key in _OWN if key != "channels"), *_MORE)
_NEXT_KEY = re.compile(rf",\s*(?=(?:{'|'.join(_KEYS)})\s*=)")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_LABEL = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _words(value: Any) -> Any:
    """Split comma-separated text, as flags and the environment have it."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _labels(value: Any) -> Any:
    """Split channel labels; an empty one stands for a position, and is not dropped."""
    labels = split_labels(value) if isinstance(value, str) else value
    if isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels):
        try:
            check_labels(labels, "channels")
        except UsageError as error:
            raise ValueError(str(error)) from error
    return labels


def _unit(value: str) -> str:
    if parse_unit(value) is None:
        msg = f"{value!r} is no unit of voltage; expected V, mV, uV or nV"
        raise ValueError(msg)
    return value


def host_and_port(value: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``[IPV6]:PORT``, or a port of this machine.

    Raises
    ------
    ValueError
        It is none of these.
    """
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else "[" if ":" in host else host
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536) or "[" in host or (colon and not host):
        msg = f"expected HOST:PORT, [IPv6 address]:PORT or a port of this machine, found {value!r}"
        raise ValueError(msg)
    return host or "127.0.0.1", int(port)


def _address(value: str) -> str:
    host_and_port(value)
    return value


def _control(value: Any) -> Any:
    """Read a policy document; text is the path of a file, or ``none``."""
    if isinstance(value, Mapping):
        try:
            return parse_policy(json.dumps(value))
        except (PolicyError, TypeError) as error:
            raise ValueError(str(error)) from error
    return value


Address = Annotated[str, AfterValidator(_address)]
Control = Annotated[ControlPolicy | str, BeforeValidator(_control)]
Labels = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_labels)]
Text = Annotated[str, Field(max_length=1000)]
Unit = Annotated[str, AfterValidator(_unit)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


Adapt = Literal["alignment", "bn", "entropy"]


class StreamSpec(BaseModel):
    """Stream to decode: the description of its source, and its own values of general settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str = ""  # name in the service, by default derived from the rest
    name: Text | None = None
    type: Text | None = None
    source_id: Text | None = None
    hostname: Text | None = None
    predicate: Text | None = None  # XPath 1.0
    model: Path | None = None
    control: Control | None = None
    paused: bool = False  # control
    hop: Annotated[int, Field(ge=1, le=2**31)] | None = None
    channels: Labels | None = None
    unit: Unit | None = None
    rate: Annotated[float, Field(ge=1, le=1e6)] | None = None
    adapt: Adapt | None = None
    adaptation_state: Path | None = None
    lsl_outlet: bool | None = None
    osc: Address | None = None
    record: bool | None = None  # in the folder of the general setting
    participant: Participant | None = None  # whose session the stream is recorded into
    node: Annotated[str, Field(pattern=_LABEL)] | None = None  # label of the nodes of a Ray cluster that see the source

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return parse_stream(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not any(getattr(self, key) for key in _SOURCE):
            msg = "say which LSL stream is meant by name, type, source_id, hostname or predicate"
            raise ValueError(msg)
        if not self.id:
            object.__setattr__(self, "id", stream_id(self.name or self.source_id or self.type or "") or "eeg")
        if not _ID.fullmatch(self.id):
            msg = f"the id {self.id!r} may hold only letters, digits, '.', '_' and '-', and begins with one of the first two"
            raise ValueError(msg)
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the values that are given, as JSON that reads back equal."""
        return self.model_dump(mode="json", exclude_none=True, exclude=None if self.paused else {"paused"})


def stream_spec(values: Mapping[str, Any]) -> StreamSpec:
    """Return a stream's description; raises UsageError with the first wrong field."""
    try:
        return StreamSpec.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(describe_field(error.errors()[0], tuple(StreamSpec.model_fields))) from error


def stream_id(text: str) -> str:
    """Return a name for a stream, made of other text; empty if no character of it is allowed."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64]


def parse_stream(text: str) -> dict[str, str]:
    """Read ``name=…,type=…,source_id=…``; ``predicate=`` takes the rest of the text, commas and all.

    Raises
    ------
    ValueError
        A part is no ``key=value``, or the key is unknown or given twice.
    """
    head, predicate = _split_predicate(text)
    spec: dict[str, str] = {}
    for part in _NEXT_KEY.split(head) if head else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in _KEYS:
            meant = did_you_mean(key, _KEYS) if equals else f"; do you mean name={part}?"
            msg = f"expected {', '.join(f'{known}=…' for known in _KEYS)} separated by commas, found {part!r}{meant}"
            raise ValueError(msg)
        if key in spec:
            msg = f"{key} is given twice"
            raise ValueError(msg)
        spec[key] = value
    return spec if predicate is None else {**spec, "predicate": predicate}


def _split_predicate(text: str) -> tuple[str, str | None]:
    head, *predicate = re.split(r"(?:^|,)\s*predicate\s*=", text, maxsplit=1)
    return head.strip(), predicate[0].strip() if predicate else None


def _split_streams(value: Any) -> Any:
    """Split a text with several streams, as the environment has them, at semicolons outside the strings of a predicate."""
    if not isinstance(value, str):
        return value
    parts: list[str] = []
    for piece in value.split(";"):
        if parts and re.search(r"['\"]", _QUOTED.sub("", _split_predicate(parts[-1])[1] or "")):
            parts[-1] += f";{piece}"  # a string of the predicate is still open
        else:
            parts.append(piece)
    return [part.strip() for part in parts if part.strip()]


def setting(description: str, default: Any = None, **limits: Any) -> Any:
    """Return a field; its description is the help of its flag."""
    return Field(default, description=description, **limits)


class Settings(BaseSettings):
    """Settings of ``mindwire serve``."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, allow_inf_nan=False)

    model: Path | None = setting("Bundle to decode with.")
    models: Path | None = setting(
        "Folder of bundles that streams can be given while the service runs; uploads go there. By default models in the "
        "folder of --sessions."
    )
    stream: Annotated[tuple[StreamSpec, ...], NoDecode, BeforeValidator(_split_streams)] = setting(
        "LSL stream to decode: name=…,type=…,source_id=…,hostname=… as far as needed, or predicate=XPATH. "
        "May be given several times; id=NAME names a stream, and model=, control=, hop=, unit=, rate=, adapt=, osc=, "
        "lsl_outlet=, record= (true or false), participant=, node= and adaptation_state= apply to it alone.",
        (),
    )
    control: str | None = setting("Control policy (JSON file), or none; by default the bundle's own if it has one.")
    host: str = setting("Address to listen on; other than loopback takes a token.", "127.0.0.1")
    port: int = setting("Port to listen on; 0 for any free one.", 8000, ge=0, le=65535)
    token: str | None = setting(
        "Access token for everything, which clients have to send; generated and printed when listening on other addresses "
        "than loopback. Other users of this machine see flags: use MINDWIRE_TOKEN or --token-file there.",
        min_length=MIN_TOKEN,
    )
    token_file: Path | None = setting("File with the access token for everything.")
    read_token: str | None = setting(
        "Second access token, with which clients may only read; generated likewise.", min_length=MIN_TOKEN
    )
    read_token_file: Path | None = setting("File with the access token for reading.")
    tls_cert: Path | None = setting("Certificate (PEM, with its chain) to serve HTTPS with; read again at SIGHUP.")
    tls_key: Path | None = setting("Private key (PEM, unencrypted) of the certificate.")
    allow_host: Words = setting("Host name that clients may use, besides the loopback ones.", ())
    allow_origin: Words = setting("Origin of web pages that may connect.", ())
    device: Literal["auto", "cpu", "cuda"] = setting("Device that runs the model.", "auto")
    engine: Literal["auto", "onnxruntime", "torch"] = setting("Inference engine.", "auto")
    hop: int | None = setting("Samples between predictions; by default the model's.", ge=1)
    channels: Labels | None = setting("Labels by position, such as C3,C4, for a stream that names no channels.")
    unit: Unit | None = setting("Unit of the samples, for a stream that states none or a wrong one.")
    rate: float | None = setting("True sampling rate in Hz, overriding the nominal one.", gt=0)
    bad_channels: Literal["auto", "interpolate", "invalidate"] = setting(
        "How to handle bad channels: auto interpolates a few.", "auto"
    )
    bridge_ms: float = setting("Longest gap in milliseconds that is bridged and flagged.", 40.0, ge=0, le=1000)
    adapt: Adapt = setting(
        "Parts of the model that adapt to the person: the alignment, BatchNorm statistics too, or also "
        "weights by entropy. The last two run the network in PyTorch.",
        "alignment",
    )
    adaptation_state: Path | None = setting(
        "File that keeps the adaptation: read at the start if it exists, written at the end."
    )
    warm_start: Path | None = setting("Recording at rest, or kept adaptation, to initialise the alignment with.")
    wait: bool = setting("Wait for a stream that is absent at the start, or refuse.", default=True)
    max_backlog: float = setting("Seconds of overdue windows above which only the newest is decoded.", 1.0, gt=0)
    stale_after: float = setting("Seconds without data until a stream is stale.", 2.0, gt=0)
    workers: int = setting("Processes that share the streams on one port; 0 for one per core.", 1, ge=0, le=256)
    ray: Address | None = setting(
        "HOST:PORT of the head of a Ray cluster, of which this machine is a node: the processes of --workers run on its "
        "nodes, each with streams of one node= alone, and elsewhere when a node is lost."
    )
    streams_per_core: float = setting(
        "Streams of hop 10 that one core of the cluster decodes; a worker reserves its share.", 50.0, gt=0
    )
    batch_wait_ms: float = setting(
        "Longest time that a window waits to be decoded with those of other streams.", 2.0, ge=0, le=1000
    )
    lsl_outlet: bool = setting("Publish on LSL as well as on the websocket.", default=True)
    osc: Address | None = setting(
        "HOST:PORT to send predictions, decisions and axes to as OSC over UDP; a port alone is of this machine."
    )
    record: Path | None = setting(
        "Folder for recordings of signal, markers, predictions, decisions and events, as XDF."
    )
    sessions: Path | None = setting(
        "Folder for sessions: recordings by person and day, begun and ended over REST, or with a stream by participant=NAME. "
        "Streams with no model then run without one, to record and train."
    )
    marker_stream: Words = setting(
        "Name or source_id of a marker stream to show; by default those of the source's host.", ()
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("Lowest level that is logged.", "info")
    log_format: Literal["auto", "text", "json"] = setting(
        "Form of the log on standard error: auto is text on a terminal, and JSON lines elsewhere.", "auto"
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for name in sorted(SECRETS, key=len):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                msg = f"{name} and {name}_file are both given; leave one of them out"
                raise ValueError(msg)
        if (self.tls_cert is None) != (self.tls_key is None):
            msg = "tls_cert and tls_key are given together or not at all; name the other file too"
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

    def of(self, spec: StreamSpec) -> StreamSpec:
        """Return a stream's description with the general settings in place of the values that it does not have."""
        return spec.model_copy(update={key: getattr(self, key) for key in _OWN if getattr(spec, key) is None})

    @property
    def models_folder(self) -> Path | None:
        """Folder of the models: the one given, or ``models`` in that of the sessions; None without either."""
        if self.models is None and self.sessions is not None:
            return self.sessions / MODELS
        return self.models

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON, without secrets and values that are not set."""
        values = self.model_dump(mode="json", exclude={*SECRETS, "stream"}, exclude_none=True)
        return values | {"stream": [spec.to_json() for spec in self.stream]}

    def to_toml(self) -> str:
        """Return the settings as TOML that reads back equal, except for tokens, which are not shown."""
        import tomli_w

        hidden = "".join(f'# {name} = "hidden"\n' for name in sorted(SECRETS) if getattr(self, name) is not None)
        return hidden + tomli_w.dumps(self.to_json())


def load_settings(flags: Mapping[str, Any], config: Path | None = None, *, save: bool = False) -> Settings:
    """Return the settings in force: flags, None for those not given, before environment before the TOML file.

    With ``save`` the streams are kept in the file, which need not exist yet, and have no other origin.

    Raises
    ------
    UsageError
        The file cannot be read, or a setting is unknown or wrong.
    """
    for sentence in unknown_variables(ENV_PREFIX, tuple(Settings.model_fields)):
        print(f"mindwire: {sentence}", file=sys.stderr)  # noqa: T201 - logging is set up by what is read here
    if save:
        _check_save(flags, config)
    kept = {} if config is None or (save and not config.exists()) else read_settings_file(config)
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**kept | EnvSettingsSource(Settings)() | given)
    except ValidationError as error:
        first = error.errors()[0]
        known = tuple((StreamSpec if len(first["loc"]) > 1 else Settings).model_fields)
        msg = describe_error(first, flags=flags, prefix=ENV_PREFIX, config=config, known=known)
        raise UsageError(msg) from error


def _check_save(flags: Mapping[str, Any], config: Path | None) -> None:
    """Refuse streams that would take the place of those kept in the settings file."""
    if config is None:
        msg = "--save-config keeps changes in the file of --config; give one."
        raise UsageError(msg)
    variable = any(name.upper() == f"{ENV_PREFIX}STREAM" for name in os.environ)
    if variable or flags.get("stream") is not None:
        where = f"{ENV_PREFIX}STREAM" if variable else "--stream"
        msg = f"With --save-config the streams are those in {config}; leave {where} out."
        raise UsageError(msg)


def read_settings_file(config: Path) -> dict[str, Any]:
    """Return the settings that a TOML file holds, not yet validated; raises UsageError if it cannot be read."""
    import tomllib

    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The settings file {config} cannot be read ({error.strerror}); check the path after --config."
        raise UsageError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"The settings file {config} is not valid TOML ({error})."
        raise UsageError(msg) from error
