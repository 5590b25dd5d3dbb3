"""The settings of ``mindwire serve``: flags before environment (``MINDWIRE_…``) before a TOML file."""

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
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

from mindwire.errors import UsageError
from mindwire.setting_errors import describe_error, did_you_mean, unknown_variables
from mindwire.signal.labels import parse_unit
from mindwire.signal.named_channels import check_labels, split_labels

ENV_PREFIX = "MINDWIRE_"
MIN_TOKEN = 8
# Settings that are shown nowhere and that no other process gets.
SECRETS = frozenset({"token", "read_token"})
_KEYS = ("id", "name", "type", "source_id", "hostname", "predicate", "model", "control", "hop", "unit")
_NEXT_KEY = re.compile(rf",\s*(?=(?:{'|'.join(_KEYS)})\s*=)")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
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


Address = Annotated[str, AfterValidator(_address)]
Labels = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_labels)]
Unit = Annotated[str, AfterValidator(_unit)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class StreamSpec(BaseModel):
    """Stream to decode: the description of its source, and its own values of general settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""  # name in the service, by default derived from the rest
    name: str | None = None
    type: str | None = None
    source_id: str | None = None
    hostname: str | None = None
    predicate: str | None = None  # XPath 1.0
    model: Path | None = None
    control: str | None = None
    hop: Annotated[int, Field(ge=1)] | None = None
    channels: Labels | None = None
    unit: Unit | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return parse_stream(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not any((self.name, self.type, self.source_id, self.hostname, self.predicate)):
            msg = "say which LSL stream is meant by name, type, source_id, hostname or predicate"
            raise ValueError(msg)
        if not self.id:
            object.__setattr__(self, "id", stream_id(self.name or self.source_id or self.type or "") or "eeg")
        if not _ID.fullmatch(self.id):
            msg = f"the id {self.id!r} may hold only letters, digits, '.', '_' and '-', and begins with one of the first two"
            raise ValueError(msg)
        return self


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
        "Folder of bundles that streams can be given while the service runs; uploads go there."
    )
    stream: Annotated[tuple[StreamSpec, ...], NoDecode, BeforeValidator(_split_streams)] = setting(
        "LSL stream to decode: name=…,type=…,source_id=…,hostname=… as far as needed, or predicate=XPATH. "
        "May be given several times; id=NAME names a stream, model=, control=, hop= and unit= apply to it alone.",
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
    adapt: Literal["alignment", "bn", "entropy"] = setting(
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

    def to_toml(self) -> str:
        """Return the settings as TOML that reads back equal, except for tokens, which are not shown."""
        hidden = [f'# {name} = "hidden"\n' for name in sorted(SECRETS) if getattr(self, name) is not None]
        return "".join(hidden) + tomli_w.dumps(self.model_dump(mode="json", exclude=set(SECRETS), exclude_none=True))


def load_settings(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Return the settings in force: flags, None for those not given, before environment before the TOML file.

    Raises
    ------
    UsageError
        The file cannot be read, or a setting is unknown or wrong.
    """
    for sentence in unknown_variables(ENV_PREFIX, tuple(Settings.model_fields)):
        print(f"mindwire: {sentence}", file=sys.stderr)  # noqa: T201 - logging is set up by what is read here
    kept = {} if config is None else _read_file(config)
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**kept | EnvSettingsSource(Settings)() | given)
    except ValidationError as error:
        first = error.errors()[0]
        known = tuple((StreamSpec if len(first["loc"]) > 1 else Settings).model_fields)
        msg = describe_error(first, flags=flags, prefix=ENV_PREFIX, config=config, known=known)
        raise UsageError(msg) from error


def _read_file(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The settings file {config} cannot be read ({error.strerror}); check the path after --config."
        raise UsageError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"The settings file {config} is not valid TOML ({error})."
        raise UsageError(msg) from error
