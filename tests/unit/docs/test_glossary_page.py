"""The page of words defines what is in use, and no page uses another word for the same thing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/explanation/glossary.md"
PAGES = [path for path in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path != PAGE]

# What a page must not say, and what it says instead.
BANNED = {
    r"g(?:i|a)v(?:e|es|en|ing) up": "abort (a sector), cancel, drop",
    r"in work\b": "in progress",
    r"local stores?\b": "sealing store",
    r"\blest\b": "so that … not",
    r"\banew\b": "again",
    r"\bmend(?:ed|s)?\b": "fix",
    r"\bgood for nothing\b": "no longer valid",
    r"\bfor good\b": "permanently",
    r"\bout of order\b": "blocked",
    r"\b(?:is|are) told\b": "is reported, learns",
}


def terms() -> list[str]:
    """Return every term that a table of the page defines."""
    cells = re.findall(r"^\| (?!word \|)([^|-][^|]*?) \|", PAGE.read_text(), re.MULTILINE)
    return [term for cell in cells for term in cell.split(", ")]


def test_every_term_is_in_use():
    """Each word stands in the sources, or on another page than its own."""
    texts = [*(path.read_text() for path in PAGES), *(path.read_text() for path in ROOT.glob("src/**/*.py"))]
    used = "\n".join(texts).lower()
    assert len(terms()) > 60
    assert [] == [term for term in terms() if not re.search(rf"\b{re.escape(term.lower())}", used)]


def test_every_term_is_defined_once():
    """Two rows about one word would be two meanings."""
    assert sorted(set(terms())) == sorted(terms())


@pytest.mark.parametrize("word", BANNED)
def test_no_page_uses_another_word(word: str):
    """Each thing has one word; a page that needs a banned one for the original's name writes it as code."""
    found = {
        f"{path.relative_to(ROOT)}: {line}"
        for path in PAGES
        for line in re.sub(r"`[^`\n]*`", "", path.read_text()).splitlines()
        if re.search(word, line, re.IGNORECASE)
    }
    assert found == set(), f"write {BANNED[word]}"
