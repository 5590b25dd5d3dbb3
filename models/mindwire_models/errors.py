"""Hierarchy of errors. A message is one or two sentences: what was expected, what was found, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from mindwire_models.text import printable

_MAX_LENGTH = 4000


class MindwireError(Exception):
    """Base of all errors that Mindwire raises on purpose; its message is made printable."""

    def __str__(self) -> str:
        return printable(super().__str__(), _MAX_LENGTH)


class ArgumentError(MindwireError, ValueError):
    """An argument of a function or of the network is wrong or contradicts another."""


class TooFewTrialsError(ArgumentError):
    """There are too few trials to train a network."""


class ContractError(MindwireError, ValueError):
    """A contract is malformed, or a signal cannot meet it."""


class BundleError(MindwireError):
    """A bundle, checkpoint or graph is damaged, inconsistent or of an unknown version."""


class ExportError(MindwireError):
    """A model could not be exported, or its exported graph disagrees with the network."""


class MissingExtraError(MindwireError, ImportError):
    """A feature needs an optional dependency that is not installed."""


class JobError(MindwireError):
    """A job among many ended without a result."""


class ClusterError(MindwireError):
    """A cluster of machines is not reached."""


@contextmanager
def extra(name: str, needs: str) -> Iterator[None]:
    """Refuse the absence of packages that are imported within, by a MissingExtraError.

    ``name`` is the extra that installs them; ``needs`` begins the message, as in "Export needs PyTorch".
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mindwire"):  # no package is absent, but our own code is broken
            raise
        it = "them" if " and " in needs else "it"
        msg = f"{needs}; install {it} with: pip install '.[{name}]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
