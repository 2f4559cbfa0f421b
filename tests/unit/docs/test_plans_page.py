"""The page about the plans is drawn from the tables."""

from pathlib import Path

from damocles.sealing import graphs

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "plans.md"


def test_the_page_shows_the_tables_as_they_are():
    """Whoever changes a table draws the page anew: `python -m damocles.sealing.graphs > docs/reference/plans.md`."""
    assert PAGE.read_text() == graphs.page()
