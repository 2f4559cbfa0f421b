"""Say in plain words, with the line, why a text is not TOML: `tomllib` speaks of characters and namespaces."""

import re
import tomllib

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")
_UNCLOSED = "a quote is not closed"
_VALUE = "a value is missing or not written as TOML has it: text and durations stand in quotes, flags are true or false"

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
    (r"Cannot overwrite a value", "the key is there twice"),
    (r"Cannot declare (\(.*\)) twice", "the table is there twice"),
    (
        r"Cannot mutate immutable namespace",
        "a table or list was written down as a whole before, and cannot be added to",
    ),
    (r"Duplicate inline table key", "the key is there twice"),
    (
        r"Expected newline or end of document",
        "something follows the value: text and durations stand in quotes, each key on a line of its own",
    ),
    (r"Unclosed array", "a [ is not closed, or a comma is missing"),
    (r"Unclosed inline table|Expected '}'", "a { is not closed, or a comma is missing"),
    (r"Expected '\]+' at the end of (?:a|an array) (?:table )?declaration", "the ] of a table's name is missing"),
)


def in_words(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Return the line of an error in a text, and what is wrong there."""
    said = str(error)
    place = _PLACE.search(said)
    line = int(place[1]) if place and place[1] else len(text.splitlines()) or 1
    plain = next((words for begin, words in _WORDS if re.match(begin, said)), None)
    return line, f"is not TOML: {plain or _PLACE.sub('', said)}"
