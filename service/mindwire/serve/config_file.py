"""The settings file of ``--save-config``: after a crash at any moment it is the old one or the new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindwire.config import SECRETS, Settings, read_settings_file
from mindwire.errors import ServiceError
from mindwire_models.atomic import replace_file, sync_folder


class ConfigFile:
    """A settings file that is kept up to date.

    Parameters
    ----------
    path : Path
        What the user wrote there is kept beside it, once, as ``{path}.orig``. Secrets in it stay in it.

    Raises
    ------
    UsageError
        The file is there, but cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # the file itself, if a link points to it
        kept = read_settings_file(path) if path.exists() else {}
        self._secrets: dict[str, Any] = {key: kept[key] for key in sorted(SECRETS) if key in kept}

    def write(self, settings: Settings) -> None:
        """Write the settings.

        Raises
        ------
        ServiceError
            The file cannot be written; it is as it was.
        """
        import tomli_w

        original = self._path.with_name(f"{self._path.name}.orig")
        note = f"# Written by mindwire serve --save-config at every change; {original.name} is the file before the first.\n"
        try:
            if self._path.exists() and not original.exists():
                original.hardlink_to(self._path)  # with its permissions
            replace_file(self._path, note + tomli_w.dumps(self._secrets | settings.to_json()))
            sync_folder(self._path.parent)
        except OSError as error:
            msg = f"The settings cannot be written to {self._path} ({error.strerror}); nothing was changed."
            raise ServiceError(msg) from error
