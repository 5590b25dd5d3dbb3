"""The Lab Streaming Layer library: imported here, so that its log is off before it is first used.

liblsl writes to standard error by itself, in a form of its own. What it logs is shown with ``mindwire --debug``, or where
a configuration file of the user's says how much is logged.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mindwire.errors import ServiceError

try:
    import pylsl
    from pylsl.lib import lib
    from pylsl.util import LostError, handle_error
    from pylsl.util import TimeoutError as LslTimeoutError
except (ImportError, OSError, RuntimeError) as error:  # pylsl raises RuntimeError when liblsl is missing
    msg = (
        f"The Lab Streaming Layer library cannot be loaded ({str(error).strip().splitlines()[0]}); "
        "install it with `pip install pylsl`, or set PYLSL_LIB to the path of liblsl."
    )
    raise ServiceError(msg) from error

__all__ = ["CONFIG_FILES", "LostError", "LslTimeoutError", "handle_error", "lib", "pylsl", "quiet_config"]

# In the order in which liblsl looks for one, after the file that LSLAPICFG names.
CONFIG_FILES = ("lsl_api.cfg", "~/lsl_api/lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg")
_LOG_SECTION = re.compile(r"^[ \t]*\[log\][ \t]*$", re.MULTILINE)
_LOG_SETTING = re.compile(r"^[ \t]*(level|file)[ \t]*=", re.MULTILINE)
_OFF = "level = -3"


def quiet_config(text: str) -> str | None:
    """A configuration with the log turned off; None where it says itself what is logged."""
    section = _LOG_SECTION.search(text)
    if section is None:
        return f"{text.rstrip()}\n\n[log]\n{_OFF}\n"
    rest = text[section.end() :]
    own = rest[: following.start()] if (following := re.search(r"^[ \t]*\[", rest, re.MULTILINE)) else rest
    return None if _LOG_SETTING.search(own) else f"{text[: section.end()]}\n{_OFF}{rest}"


def _current_config() -> str:
    for name in (os.environ.get("LSLAPICFG"), *CONFIG_FILES):
        if not name:
            continue
        try:
            return Path(name).expanduser().read_text(encoding="utf-8", errors="replace")
        except (OSError, RuntimeError):  # RuntimeError: there is no home
            continue
    return ""


def _silence() -> None:
    config = quiet_config(_current_config())
    if config is not None and hasattr(lib, "lsl_set_config_content"):  # not in every version
        pylsl.set_config_content(config)


if not os.environ.get("MINDWIRE_DEBUG"):
    _silence()
