"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """What was asked for cannot be done; the message says why and what to do.

    The commands print it without a traceback.
    """


def check_choice(key: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Arguments
    ---------
    key : str
        YAML key, for the message.
    value : object
        What it was set to.
    choices : Iterable[str]
        What it may be.

    Raises
    ------
    UserError
        Another value.
    """
    known = list(choices)
    if value not in known:
        raise UserError(f"{key} is '{value}'; use one of {', '.join(known)}.")


def suggestion(key: str, known: Sequence[str]) -> str:
    """Say which key was meant, if one is near."""
    longer = [name for name in known if name.startswith(key)]
    near = longer or difflib.get_close_matches(key, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
