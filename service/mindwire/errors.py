"""Errors of the service; they extend the one hierarchy that begins in :mod:`mindwire_models.errors`."""

from mindwire_models.errors import (
    ArgumentError,
    BundleError,
    ClusterError,
    ContractError,
    ExportError,
    JobError,
    MindwireError,
    MissingExtraError,
)

# Passed on; the others are defined here.
__all__ = [
    "ArgumentError",
    "BundleError",
    "ClusterError",
    "ContractError",
    "ExportError",
    "JobError",
    "MindwireError",
    "MissingExtraError",
]


class GraphTrialError(BundleError):
    """A bundle's graph is accepted, but takes too much time or memory or gives no usable logits."""


class UnknownModelError(MindwireError):
    """The models' folder has no such model."""


class ModelConflictError(MindwireError):
    """Another model has the id, or a stream uses the model, or there is no folder for models."""


class UsageError(MindwireError):
    """The command line or the settings ask for something that does not exist (exit code 2)."""


class ConflictError(MindwireError):
    """A change contradicts what there is, such as a name that is taken."""


class SourceError(MindwireError):
    """A source of samples cannot be used."""


class ResourceError(SourceError):
    """The machine has no descriptor, thread or memory left for a source; it may have later."""


class StreamNotFoundError(SourceError):
    """No stream, or more than one, answers the description the user gave."""


class StreamLostError(SourceError):
    """A stream that was live has gone; it may come back."""


class StreamChangedError(SourceError):
    """A stream came back with another rate, layout or identity."""


class RecordingError(MindwireError):
    """A recording cannot be read or written."""


class LoopError(MindwireError):
    """A stream's loop does not move; it is replaced."""


class ServiceError(MindwireError):
    """The service cannot start or go on (port in use, liblsl missing, capacity reached)."""


class PolicyError(MindwireError):
    """A control policy is invalid or does not fit the model."""


class ParadigmError(MindwireError):
    """A paradigm is not valid, or there is none of the name."""
