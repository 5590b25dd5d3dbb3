"""Sources that the settings describe: checked before anything starts, and streams named after them."""

from __future__ import annotations

from pathlib import Path

from mindwire.config import Settings, StreamSpec, stream_id
from mindwire.errors import UsageError
from mindwire.outputs import ADAPTATION, check_output, check_report
from mindwire.sources.liblsl import pylsl
from mindwire.sources.lsl_discovery import Selector, check_predicate

_SURVEY_S = 1.0


def named_after_sources(settings: Settings) -> Settings:
    """Return the settings with streams called after the LSL streams that they describe, where the user named none.

    A description without ``id`` and ``name``, such as ``type=EEG``, that fits one stream now takes its name; where there
    is none yet, or more than one, the stream is called after the description. Kept states of several streams go by the
    streams' names, which then stay those of the descriptions.
    """
    if settings.adaptation_state is not None and len(settings.stream) > 1:
        return settings
    taken = {spec.id.casefold() for spec in settings.stream}
    renamed = []
    for spec in settings.stream:
        if "id" not in spec.model_fields_set and spec.name is None and spec.source_id is None:
            found = pylsl.resolve_bypred(selector(spec).xpath, 1, _SURVEY_S)
            name = stream_id(found[0].name()) if len(found) == 1 else ""
            if name and name.casefold() not in taken:
                taken.add(name.casefold())
                spec = spec.model_copy(update={"id": name})  # noqa: PLW2901
        renamed.append(spec)
    return settings.model_copy(update={"stream": tuple(renamed)})


def check_settings(settings: Settings) -> None:
    """Refuse settings that no service can run with.

    Raises
    ------
    UsageError
        They hold a predicate that is no XPath, or ask for outputs that cannot be written.
    """
    if settings.sessions is not None and settings.record is not None:
        msg = "--record and --sessions both record the streams; leave one of them out."
        raise UsageError(msg)
    if settings.record is not None:
        check_report(settings.record, (), option="--record")
    for spec in settings.stream:
        check_stream(settings, spec)


def check_stream(settings: Settings, spec: StreamSpec) -> None:
    """Refuse a stream that cannot be run, whatever its bundle is; raises as :func:`check_settings`."""
    check_predicate(selector(spec).xpath)
    if spec.record and settings.record is None:
        msg = f"record: stream {spec.id!r} is to be recorded, but there is no folder for recordings; start with --record FOLDER."
        raise UsageError(msg)
    if records(settings, spec) and not settings.of(spec).lsl_outlet:
        msg = "--record takes predictions from their LSL outlet, found --no-lsl-outlet; leave one of them out."
        raise UsageError(msg)
    if spec.participant and settings.sessions is None:
        msg = f"participant: stream {spec.id!r} is to be recorded, but there is no folder for sessions; start with --sessions DIR."
        raise UsageError(msg)
    if spec.participant and not settings.of(spec).lsl_outlet:
        msg = "--sessions takes predictions from their LSL outlet, found --no-lsl-outlet; leave one of them out."
        raise UsageError(msg)
    kept = kept_state(settings, spec)
    if kept is not None:
        inputs = (settings.warm_start, spec.model or settings.model)
        check_output(kept, ADAPTATION, inputs=inputs, force=None, option="--adaptation-state", make_folder=True)


def records(settings: Settings, spec: StreamSpec) -> bool:
    """Return true if a stream is recorded."""
    return settings.record is not None and spec.record is not False


def kept_state(settings: Settings, spec: StreamSpec) -> Path | None:
    """Return the file that keeps a stream's state: the file named, or one beside it for each of several streams."""
    path = spec.adaptation_state or settings.adaptation_state
    if path is None or spec.adaptation_state is not None or (spec,) == settings.stream:
        return path
    return path.with_name(f"{path.stem}-{spec.id}{path.suffix}")


def selector(spec: StreamSpec) -> Selector:
    """Return what the stream's source must be."""
    return Selector(spec.name, spec.type, spec.source_id, spec.hostname, spec.predicate)
