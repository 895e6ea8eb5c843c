"""Makes text from outside safe to show in one line of a log or report."""


def printable(text: str) -> str:
    """Returns the text, escaped if it contains unprintable characters."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def shortened(text: str, max_characters: int) -> str:
    """Returns the text, cut off with an ellipsis if it is longer than the limit."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 3]}..."
