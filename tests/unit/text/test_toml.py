"""What is wrong with a text that is not TOML, in plain words."""

import pytest

from damocles.text import toml


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('a = 1\nb = "x\nc = 2\n', 2, "a quote is not closed"),
        ("a = 'x\n", 1, "a quote is not closed"),
        ('a = """x\n\n', 2, "a quote is not closed"),
        (
            "a = 30s\n",
            1,
            "something follows the value: put text and durations in quotes, and each key on a line of its own",
        ),
        ("a = True\n", 1, toml._VALUE),
        ("a = 1\n\na = 2\n", 3, "the key appears twice"),
        ("[a]\n[b]\n[a]\n", 3, "the table appears twice"),
        ("[a\n", 1, "the ] of a table's name is missing"),
        ("[[a]\n", 1, "the ] of a table's name is missing"),
        ("a = [1 2]\n", 1, "a [ is not closed, or a comma is missing"),
        ("a = { b = 1\n", 1, "a { is not closed, or a comma is missing"),
        ('a = "C:\\x"\n', 1, r"a \ in double quotes begins an escape: write \\, or use single quotes"),
        ('a "x"\n', 1, "a key is not followed by = and a value"),
        ("= 1\n", 1, "the line begins neither with a key nor with ["),
        ('a = "\x01"\n', 1, r"Illegal character '\x01'"),
    ],
)
def test_an_error_is_told_in_plain_words(text, line, words):
    """The line, and what to look for there; what has no plain words is told as the parser says it."""
    with pytest.raises(toml.Unusable) as raised:
        toml.parse(text)
    assert (line, f"is not TOML: {words}") == (raised.value.line, raised.value.message)
