"""Text of others on a terminal: a worker's name or error must neither colour nor move nor rename anything there."""


def shown(text: str, keep: str = "") -> str:
    """Return a text with what is not printable written as a Python escape, but for the characters to keep."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )
