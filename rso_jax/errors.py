"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """Bad input, said in one line that names the value and the remedy.

    The command line prints the message and exits with status 2; from Python it is an
    ordinary ``ValueError``.
    """
