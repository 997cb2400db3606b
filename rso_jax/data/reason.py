"""What other libraries say went wrong, fit for a message of one line."""


def reason(error: BaseException) -> str:
    """Return the message of ``error`` on one line, shortened; its kind where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
