"""The page of costs shows what the worker counts with."""

import re
from pathlib import Path

from damocles.sealing import planner
from damocles.stages.admission import costs
from damocles.text import units
from damocles.wire import sectors

PAGE = (Path(__file__).parents[3] / "docs/reference/costs.md").read_text()
SIZES = tuple(sectors.SectorSize)
LETTERS = {"measured": "", "lotus": " l", "assumed": " a", "structure": " s"}
LARGE, SMALL = sectors.SectorSize.GIB32, sectors.SectorSize.MIB8


def test_every_stage_has_its_row():
    """With memory by size and source, cores and disk."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and line.count("|") == 9]
    expected = []
    for stage in costs.STAGES:
        facts = [costs.of(stage, size) for size in SIZES]
        cells = [f"`{stage}`", *(units.human_size(fact.memory_bytes) + LETTERS[fact.source] for fact in facts)]
        cores, disk = facts[0].cores, facts[SIZES.index(LARGE)].disk_bytes / LARGE
        expected.append(f"| {' | '.join(cells)} | {cores or 'most'} | {f'{disk:g} ' if disk else ''}|")
    assert expected == rows


def test_room_of_every_plan():
    """As many times its size, for the large sectors and for the small ones."""
    shown: dict[str, tuple[float, ...]] = {}
    for line in PAGE[PAGE.index("## Room") :].splitlines():
        if line.startswith("| `"):
            names, large, small = (cell.strip() for cell in line.strip("|").split("|"))
            shown |= {name: (float(large), float(small)) for name in re.findall(r"`(\w+)`", names)}
    assert shown == {
        plan: tuple(round(costs.disk_bytes(plan, size) / size, 2) for size in (LARGE, SMALL)) for plan in planner.PLANS
    }
