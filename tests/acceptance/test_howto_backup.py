"""The commands of `docs/how-to/backup.md`, section by section, with a real manager on both kinds of database."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from damocles.testing import farm, postgres
from damocles.testing.farm import Farm, program

from . import plan_farms

PAGE = Path(__file__).parents[2] / "docs/how-to/backup.md"


def commands(title: str) -> Iterator[str]:
    """Yield the commands of a section."""
    section = next(part for part in PAGE.read_text().split("\n## ")[1:] if part.startswith(title))
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        yield from (line[2:] for line in block.splitlines() if line.startswith("$ "))


def stop_manager(f: Farm) -> None:
    """Stop the manager."""
    assert f.manager is not None
    assert 0 == farm.stop(f.manager)
    f.manager = None


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_page_backs_up_restores_and_moves(tmp_path, postgres_server: postgres.Server, no_parameters):
    """What a manager knows is there again after each section, under the manager that the section leads to."""
    with Farm(tmp_path, threads=1, parameters=no_parameters, max_sectors=1) as f:
        (tmp_path / "home").mkdir()
        (tmp_path / "home/.damocles-manager").symlink_to(tmp_path / "manager")
        env = {**f.env, "HOME": str(tmp_path / "home"), "PATH": f"{Path(program('x')).parent}:{os.environ['PATH']}"}

        def run(text: str) -> str:
            """Type a command, on the test's server instead of the page's."""
            for name in ("damocles_restored", "damocles", "postgres"):
                text = re.sub(rf"postgresql://damocles@db.lan/{name}(?!\w)", postgres_server.url(name), text)
            done = subprocess.run(
                ["bash", "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
            )
            assert 0 == done.returncode, (text, done.stdout, done.stderr)
            return done.stdout

        def known() -> str:
            return run(shlex.join(["damocles-manager", "sectors", "--listen", f"127.0.0.1:{f.manager_port}", "--json"]))

        plan_farms.start_manager(f)
        f.start_worker()
        plan_farms.paused_with(f, "No cached parameters")
        plan_farms.stop_worker(f)
        before = known()
        assert "s-t010000-1" in before

        backup, *restore = commands("Back up a file")
        run(backup)
        stop_manager(f)
        for text in restore:
            run(text)
        plan_farms.start_manager(f)
        assert before == known()
        stop_manager(f)

        to_server, back = commands("From SQLite"), ""
        for text in to_server:
            if "copied.db" in text:
                back = text
                continue
            said = run(text)
        assert "rows copied and checked" in said
        plan_farms.start_manager(f, "--database", postgres_server.url("damocles"))
        assert before == known()

        for text in commands("Back up a database on PostgreSQL"):
            run(text)
        for text in commands("Who has what"):
            run(text)
        stop_manager(f)
        run(back)
        (tmp_path / "manager/manager.db").unlink()
        plan_farms.start_manager(f, "--database", postgres_server.url("damocles_restored"))
        assert before == known()
        stop_manager(f)

        (tmp_path / "copied.db").rename(tmp_path / "manager/manager.db")
        plan_farms.start_manager(f)
        assert before == known()
