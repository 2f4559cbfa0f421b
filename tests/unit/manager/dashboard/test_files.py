"""The files of others that the dashboard serves are those that its list names."""

import hashlib
import re
from pathlib import Path

import damocles.manager.dashboard

STATIC = Path(damocles.manager.dashboard.__file__).parent / "static"


def test_files_of_others_are_as_they_were_taken():
    """Each has the hash that stands beside it, and its licence is there."""
    rows = re.findall(
        r"^\| `([^`]+)` .* `([0-9a-f]{64})` .* in `([^`]+)`", (STATIC / "README.md").read_text(), re.MULTILINE
    )
    assert rows
    for name, digest, licence in rows:
        assert digest == hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
        assert (STATIC / licence).read_text().strip()
