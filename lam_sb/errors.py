"""The one kind of error that is the user's to mend."""

from __future__ import annotations

from collections.abc import Iterable


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
