"""Read TOML: the one way for every file of ours, with plain words for what is wrong in it.

Some texts that are TOML by its grammar end `tomllib` with errors that are not its own, or keep it busy for seconds. What
no configuration needs is refused before it looks: see the `MOST_…`.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 256 << 10
MOST_LEVELS = 64  # of arrays and tables within each other
MOST_PARTS = 64  # of a key with dots: the parser's time grows with the square of their number
MOST_CHARACTERS = 1000  # of a bare key, number, date or flag
MOST_BITS = 63  # of a whole number, besides its sign

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")
_UNCLOSED = "a quote is not closed"
_VALUE = "a value is missing or malformed: put text and durations in quotes; flags are true or false"

# The beginning of what `tomllib` says, and what people understand.
_WORDS = (
    (r"Illegal character '\\[nr]", _UNCLOSED),
    (r"Unterminated string", _UNCLOSED),
    (r"Expected \"'", _UNCLOSED),
    (r"Unescaped '\\' in a string", r"a \ in double quotes begins an escape: write \\, or use single quotes"),
    (r"Invalid statement", "the line begins neither with a key nor with ["),
    (r"Expected '=' after a key", "a key is not followed by = and a value"),
    (r"Invalid initial character for a key", "a key is expected, of letters, digits, - and _"),
    (r"Invalid value", _VALUE),
    (r"Invalid (?:date|hex|octal|binary)", _VALUE),
    (r"Cannot overwrite a value", "the key appears twice"),
    (r"Cannot declare (\(.*\)) twice", "the table appears twice"),
    (
        r"Cannot mutate immutable namespace",
        "a table or list was written down as a whole before, and cannot be added to",
    ),
    (r"Duplicate inline table key", "the key appears twice"),
    (
        r"Expected newline or end of document",
        "something follows the value: put text and durations in quotes, and each key on a line of its own",
    ),
    (r"Unclosed array", "a [ is not closed, or a comma is missing"),
    (r"Unclosed inline table|Expected '}'", "a { is not closed, or a comma is missing"),
    (r"Expected '\]+' at the end of (?:a|an array) (?:table )?declaration", "the ] of a table's name is missing"),
)


# What the limits are about. Texts and comments are passed over as a whole: brackets and dots in them count for nothing.
# No branch may give back what it has taken, so that the time grows with the length alone.
_TOKENS = re.compile(
    r"""
      (?P<text>
          "{3}(?:[^"\\]++|\\.|"(?!""))*+(?:"{3})?
        | '{3}(?:[^']++|'(?!''))*+(?:'{3})?
        | "(?:[^"\\\n]++|\\[^\n])*+"?
        | '[^'\n]*+'?
      )
    | \#[^\n]*+
    | (?P<word>[^\s"'\#\[\]{}=,.]++)
    | (?P<dot>\.)
    | (?P<opens>[\[{])
    | (?P<closes>[\]}])
    | [ \t]++
    | (?P<other>[\s=,])
    """,
    re.VERBOSE | re.DOTALL,
)


class Unusable(Exception):
    """A text or file is no TOML that anybody could need; `line` is where, if it is somewhere."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read(file: Path) -> str:
    """Return the text of a file.

    Raises:
        Unusable: It cannot be read, is too large, or no text.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise Unusable(f"is not TOML: it is larger than {MOST_BYTES >> 10} KiB")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")  # editors on Windows begin with a mark
    except UnicodeDecodeError as error:
        raise Unusable("is not a text file in UTF-8") from error


def parse(text: str) -> dict[str, Any]:
    """Parse a text.

    Raises:
        Unusable: It is not TOML, or exceeds a limit.
    """
    for line, excess in _excesses(text):
        raise Unusable(f"is not TOML: {excess}", line)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, message = _in_words(error, text)
        raise Unusable(message, line) from error
    except (ValueError, RecursionError, OverflowError) as error:
        raise Unusable(f"is not TOML: {error}") from error
    if _has_large_number(data):
        raise Unusable(f"is not TOML: a whole number does not fit into {MOST_BITS + 1} bits")
    return data


def _excesses(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line of whatever is beyond a limit, and what it is."""
    levels, parts, was_dot = 0, 0, False
    for token in _TOKENS.finditer(text):
        excess = ""
        match token.lastgroup:
            case "opens":
                levels += 1
                excess = f"arrays and tables are nested more than {MOST_LEVELS} deep" if levels > MOST_LEVELS else ""
                parts = 0
            case "closes":
                levels, parts = max(0, levels - 1), 0
            case "word" | "text":
                parts = parts + 1 if was_dot else 1
                if parts > MOST_PARTS:
                    excess = f"a key has more than {MOST_PARTS} parts"
                elif token.lastgroup == "word" and len(token[0]) > MOST_CHARACTERS:
                    excess = f"a key or number has more than {MOST_CHARACTERS} characters"
            case "other":
                parts = 0
        if token.lastgroup is not None:
            was_dot = token.lastgroup == "dot"
        if excess:
            yield text.count("\n", 0, token.start()) + 1, excess


def _has_large_number(data: object) -> bool:
    """Return whether a number is in there that neither another program nor a database could take."""
    if isinstance(data, dict):
        return any(map(_has_large_number, data.values()))
    if isinstance(data, list):
        return any(map(_has_large_number, data))
    return type(data) is int and not -(1 << MOST_BITS) <= data < 1 << MOST_BITS


def _in_words(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the line of an error in a text, and what is wrong there."""
    said = str(error)
    place = _PLACE.search(said)
    line = int(place[1]) if place and place[1] else len(text.splitlines()) or 1
    plain = next((words for begin, words in _WORDS if re.match(begin, said)), None)
    return line, f"is not TOML: {plain or _PLACE.sub('', said)}"
