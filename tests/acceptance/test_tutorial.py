"""The tutorial, followed to the letter: what it shows is what is printed."""

import os
import re
import shutil
from pathlib import Path

import pytest

from . import plan_farms, walkthrough

PAGE = Path(__file__).parents[2] / "docs/tutorial/first-sector.md"
# What shows how things stand, and is asked again until they stand so.
LOOKS = re.compile(r"damocles-(?:manager|worker) (?:status|ps|sectors?|worker undrain)\b")
CODES = {"damocles-worker params list": 1, "kill %2; wait %2": 0}


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(2500)
def test_the_tutorial_is_followed_from_its_first_command_to_its_last(
    tmp_path: Path, porep_parameters: list[Path]
) -> None:
    """A sector is sealed, paused, resumed and finished; the next is stuck without parameters, and brought on with them.

    `make setup`, before all, is what runs these tests.
    """
    folder = tmp_path / "farm/parameters"
    folder.mkdir(parents=True)
    for path in [*porep_parameters, *porep_parameters[0].parent.glob("*proof-of-replication*.json")]:
        os.link(path, folder / path.name) if path.stat().st_dev == folder.stat().st_dev else shutil.copy(path, folder)
    with walkthrough.Shell.open(tmp_path) as shell:
        walkthrough.follow(shell, PAGE.read_text(), codes=CODES, again=LOOKS, seconds=plan_farms.PROVING_SECONDS)
