"""Text that others have written, made fit for a line of a log or a report."""


def printable(text: str) -> str:
    """Returns the text, with escapes if it holds characters that cannot be printed."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def shortened(text: str, max_characters: int) -> str:
    """Returns the text, with an ellipsis for what exceeds the limit."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 3]}..."
