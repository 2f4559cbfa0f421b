"""Text of others on a terminal: a worker's name or error must neither colour nor move nor rename anything there."""

import json
import os
import unicodedata

CUT = "…"


def shown(text: str, keep: str = "") -> str:
    """Return a text with what is not printable written as a Python escape, but for the characters to keep."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def shown_json(text: str) -> str:
    """Return some JSON, of one line or many, with what is not printable in its texts written as JSON's escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def width(text: str) -> int:
    """Return how many columns a printable text takes: East Asian characters take two, combining ones none."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """Return a text of at most so many columns, with … for what is left out at its end."""
    return text if width(text) <= columns else _start(text, columns - 1) + CUT


def cut_middle(text: str, columns: int) -> str:
    """Return a text of at most so many columns, with … for what is left out in its middle: paths differ in their ends."""
    if width(text) <= columns:
        return text
    head = columns // 3
    return _start(text, head) + CUT + _start(text[::-1], columns - head - 1)[::-1]


def filled(text: str, columns: int) -> str:
    """Return a text with blanks behind it, so that it takes so many columns."""
    return text + " " * (columns - width(text))


def wants_colour() -> bool:
    """Return whether people who look at a terminal want colours there."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _start(text: str, columns: int) -> str:
    if text.isascii():
        return text[: max(0, columns)]
    taken = 0
    for end, char in enumerate(text):
        taken += _width(char)
        if taken > columns:
            return text[:end]
    return text


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
