"""Names of participants and days, which become folders of sessions, and of the commands to a task; the same wherever one is given."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
MODELS = "models"  # the folder of models beside the participants'
PARADIGMS = "paradigms"  # likewise of paradigms
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
NO_SESSIONS: Final = "The service has no folder for sessions; start it with --sessions DIR."
TASK_COMMANDS: Final = ("pause", "resume", "finish", "abort", "trial", "seen")
_OWN = frozenset({MODELS, PARADIGMS})
# Names that Windows gives to devices, whatever the folder.
_RESERVED = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9]", re.IGNORECASE)


def check_participant(name: str) -> str:
    """Return a participant's name if it can be a folder on every system.

    Raises
    ------
    ValueError
        It is none.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        msg = (
            "expected a participant's name of 1 to 64 letters, digits and '-', with a letter or digit at both ends and no "
            f"name of a device of Windows, found {name[:80]!r}"
        )
        raise ValueError(msg)
    if name.casefold() in _OWN:
        msg = f"{name!r} is the name of a folder of Mindwire's own; choose another for the participant"
        raise ValueError(msg)
    return name


Participant = Annotated[str, AfterValidator(check_participant)]
