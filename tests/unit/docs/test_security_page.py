"""The page on who can do what agrees with the table of rules, and names tests that are there; so does that of attacks."""

import re
from pathlib import Path

from damocles.methods.rules import Scope
from damocles.rpc.admission import access, handshake

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "explanation" / "security.md"
ATTACKS = ROOT / "docs" / "reference" / "attacks.md"


def names_in(folder: Path) -> set[str]:
    """Return the names of the tests below a folder, those in classes too."""
    return {
        name
        for file in folder.rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }


def scopes_table() -> str:
    """Return the table of what each scope opens, as the page has it; `make docs` needs it as text."""
    rows = ["| opened by | calls |", "|---|---|", f"| nobody's token | `{access.HEALTH}`, `GET {handshake.PATH}` |"]
    for least in (Scope.READ, Scope.OPERATE, Scope.ADMIN):
        for worker in (True, False):
            names = sorted(name for name, rule in access.RULES.items() if (rule.least, rule.worker) == (least, worker))
            if names:
                calls = ", ".join(f"`{name.removeprefix('Venus.')}`" for name in names)
                rows.append(f"| `{least}`{' or `worker`' * worker} | {calls} |")
    return "\n".join(rows)


def test_the_table_of_scopes_is_that_of_the_rules():
    """What the page says a scope opens is what the guard lets through, method for method."""
    found = re.search(r"<!-- scopes -->\n(.*?)\n<!-- /scopes -->", PAGE.read_text(), re.DOTALL)
    assert found
    assert scopes_table() == found[1]


def test_every_kind_of_peer_has_tests_that_exist():
    """Each row on who can do what ends with the names of tests that stand somewhere below `tests`."""
    section = PAGE.read_text().split("\n## Who can do what\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    row_of = re.compile(r"\| [^|]+ \| [^|]+ \| [^|]+ \| `test_\w+`(?:, `test_\w+`)* \|")
    assert [] == [row for row in rows if not row_of.fullmatch(row)]
    assert set() == set(re.findall(r"`(test_\w+)`", PAGE.read_text())) - names_in(ROOT / "tests")


def test_every_attack_has_tests_that_exist():
    """Each row of what has been tried ends with the names of tests, too."""
    rows = [line for line in ATTACKS.read_text().splitlines() if re.match(r"\| (?!what was tried)", line)]
    known = names_in(ROOT / "tests")
    for row in rows:
        found = re.fullmatch(r"\| [^|]+ \| [^|]+ \| (`test_\w+`(?:, `test_\w+`)*) \|", row)
        assert found, row
        assert set() == set(re.findall(r"test_\w+", found[1])) - known, row
