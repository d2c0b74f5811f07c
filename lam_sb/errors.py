"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """What was asked for cannot be done; the message says why and what to do.

    The commands print it without a traceback.
    """
