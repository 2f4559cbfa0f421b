"""The first page leads to every other one."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_every_page_is_linked():
    """And no link leads nowhere."""
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text()))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.glob("*/*.md")}
    assert pages == linked
