"""Descriptions of the streams of a service while they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindwire.config import Settings, StreamSpec, stream_spec
from mindwire.errors import ConflictError, ServiceError, UsageError
from mindwire.serve.config_file import ConfigFile
from mindwire.serve.models import ModelStore
from mindwire.serve.named_sources import kept_state

log = logging.getLogger(__name__)

# Bounds what clients can ask for: each stream has threads and sockets of its own.
MAX_STREAMS = 512


class Specs:
    """Descriptions of a service's streams, and the settings file that holds them if they are to be kept.

    Parameters
    ----------
    settings : Settings
    file : ConfigFile or None

    Attributes
    ----------
    models : ModelStore
    kept : bool
        True if the settings file holds every change; a service with it goes on even if all its streams are refused.
    """

    def __init__(self, settings: Settings, file: ConfigFile | None = None) -> None:
        self.models = ModelStore(settings.models_folder)
        self._lock = threading.Lock()
        self._file = file
        self.kept = file is not None
        self.settings = settings
        self.settings = settings.model_copy(update={"stream": tuple(map(self.completed, settings.stream))})

    def __getitem__(self, name: str) -> StreamSpec:
        for spec in self.settings.stream:
            if spec.id == name:
                return spec
        raise KeyError(name)

    def completed(self, spec: StreamSpec) -> StreamSpec:
        """Return a description with the file of its adaptation, which is called after the streams there are now."""
        kept = kept_state(self.settings, spec)
        return spec if kept is None else spec.model_copy(update={"adaptation_state": kept})

    def model_path(self, reference: str) -> Path:
        """Return the folder of a model by its id, or by the path of a bundle that is configured.

        Raises
        ------
        UnknownModelError, BundleError
            There is none, or it cannot be used.
        """
        general, specs = self.settings.model, self.settings.stream
        if reference in {str(path) for path in (general, *(spec.model for spec in specs)) if path is not None}:
            return Path(reference)
        return self.models.path(reference)

    def check_new(self, spec: StreamSpec) -> None:
        """Raise ConflictError if a stream cannot be added."""
        if any(spec.id.casefold() == other.id.casefold() for other in self.settings.stream):
            msg = f"There is already a stream {spec.id!r}; give the new one a name of its own with 'id'."
            raise ConflictError(msg)
        if len(self.settings.stream) >= MAX_STREAMS:
            msg = f"The service has {MAX_STREAMS} streams, and takes no more; remove some first."
            raise ConflictError(msg)

    def put(self, name: str, spec: StreamSpec | None) -> None:
        """Set or remove one stream's description, on disk first; raises ServiceError if it cannot be written."""
        with self._lock:
            specs = {one.id: one for one in self.settings.stream}
            if spec is None:
                specs.pop(name, None)
            else:
                specs[name] = spec
            settings = self.settings.model_copy(update={"stream": tuple(specs.values())})
            if self._file is not None:
                self._file.write(settings)
            self.settings = settings

    def note(self, name: str, fields: Mapping[str, Any]) -> bool:
        """Keep fields that have changed already; returns true if they differ. A failure is logged."""
        try:
            before = self[name]
            after = changed(before, fields)
            if after == before:
                return False
            self.put(name, after)
        except KeyError:
            return False  # it was removed meanwhile
        except ServiceError as error:
            message = "The change of the stream lasts only until the service ends: %s"
            log.error(message, error, extra={"stream": name})  # noqa: TRY400 - no bug
        return True


def changed(spec: StreamSpec, fields: Mapping[str, Any]) -> StreamSpec:
    """Return a description with other values in some fields; raises UsageError with the first wrong one."""
    if fields.get("id", spec.id) != spec.id:
        msg = "id: a stream keeps its name; remove it and add another."
        raise UsageError(msg)
    values = {key: value for key, value in spec if value is not None} | dict(fields)
    return stream_spec({key: value for key, value in values.items() if value is not None})
