"""The dashboard in a browser, with real daemons on a devnode: a sector's messages, the log of its stages as it is written, the day."""

from pathlib import Path
from typing import Any

import pytest

from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import wait_until

from . import browsers, houses

pytestmark = [pytest.mark.xdist_group("dashboard"), pytest.mark.slow]


def test_a_sector_is_followed_on_a_chain(tmp_path: Path, chromium: Any, no_parameters: Path) -> None:
    """Its page, open since before, shows that the pre-commit lands, and what the stage after that writes when it writes it."""
    with ChainFarm(
        tmp_path,
        threads=1,
        max_sectors=1,
        parameters=no_parameters,
        seal_interval="1h",
        recover_interval="1h",
        name="w1",
    ) as f:
        f.start_devnode()
        f.ask_node("DevnodeBlockLimit", 0, prefix="Damocles")
        f.start_manager("--dashboard")
        f.start_worker()
        wait_until(lambda: f.thread(0).job_state == "PCSubmitted", "the pre-commit is handed in")
        sector = f"s-t0{f.miner}-1"
        with browsers.visit(chromium, f.manager_port) as visit:
            page = visit.page
            visit.log_in(houses.own(f), f"sectors/{sector}")
            visit.heading(f"Sector {sector}")
            lines = page.locator("#lines")
            assert lines.text_content() == ""
            lines.evaluate("lines => { lines.dataset.old = 'yes' }")
            f.ask_node("DevnodeBlockLimit", None, prefix="Damocles")
            lines.filter(has_text="C2[").filter(has_text="No cached parameters").wait_for()
            assert lines.get_attribute("data-old") == "yes", "the page was loaded anew"
            page.locator("dd.error", has_text="No cached parameters").wait_for()
            landed = page.get_by_role("row", name="pre-commit").get_by_text("epoch")
            landed.wait_for()
            browsers.keep_picture(page, "chain")
            visit.open("proving")
            visit.heading("Proving")
            visit.shows("No deadline has sectors")
            assert page.get_by_text("At epoch").count() == 1
