"""The commands of how-tos that have no test of their own: each runs against a farm that stands, or it is said why not."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import walkthrough

HOWTO = Path(__file__).parents[2] / "docs/how-to"
# Pages that are followed as a whole elsewhere.
FOLLOWED = {
    "a-real-chain.md": "test_howto_chain.py",
    "backup.md": "test_howto_backup.py",
    "capacity.md": "test_howto_capacity.py",
    "from-damocles.md": "test_howto_from_damocles.py",
    "move-sectors.md": "test_howto_move.py",
    "paused-threads.md": "test_howto.py",
    "two-managers.md": "test_howto_two_managers.py",
}
# Those that need what a farm on one machine with `mock` has not; they are parsed (test_commands.py), and what they do
# has tests of its own.
NOT_RUN = {
    "…": "a gap for the reader's own value, or an option alone",
    "[--": "alternatives",
    "JOB": "a job that a deadline makes (test_wdpost.py)",
    "fees.md": "a chain with messages (tests/integration/manager, test_howto_chain.py)",
    "--miner f01000": "a chain with this miner (tests/integration/operations)",
    "util message list": "a chain with messages",
    "mine-blocks.md": "a chain with elections (tests/integration/devnode/test_mining.py)",
    "miners.md": "a chain (tests/integration/operations/test_reload.py follows the page)",
    "sectors.jsonl": "the sectors of a lotus-miner, on a chain",
    "gpu-box.md": "Ray, and machines that it runs on",
    "sealer sectors unseal ": "a sector with a piece (test_plan_unseal.py)",
    "--follow": "never ends",
    "sector s-t010000-2": "a sector (test_tutorial.py)",
    "--to TreeDBuilt": "a sector that is stuck (tests/acceptance/test_chapter.py)",
    "https://10.0.0.2": "another machine (tests/security/test_tls.py)",
    "gpu1.damocles": "another machine, and a certificate",
    "mock --miner 10000": "a second manager; the mock's options have tests of their own",
    "/etc/damocles/": "files of the kit, which test_kit.py checks",
    "--sector-size 32GiB --verify": "56 GiB of parents",
    "--sector s-t010000-7": "a sector",
}
# Where the answer is no: what is looked for is missing on this machine, or comes with a warning.
CODES = {"doctor": {0, 1}, "params parents": {0, 1}}
_THREADS = 4  # the pages name number 3
CONFIG = """
[worker]
name = "gpu-1"
home = "worker"
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
token_file = "manager/worker-token"
[[attached]]
name = "persist-3"
location = "persist"
""" + "".join(f'[[sealing_thread]]\nlocation = "store{index}"\n' for index in range(_THREADS))


def commands() -> Iterator[tuple[str, str]]:
    """Yield page and text of each command of ours in a block of a how-to, in the order of the pages."""
    for page in sorted(HOWTO.glob("*.md")):
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text().replace("\\\n", " "), re.DOTALL):
            for line in block.splitlines():
                text = " ".join(line.removeprefix("$ ").partition(" #")[0].split())
                if text.startswith(("damocles-manager ", "damocles-worker ")):
                    yield page.name, text


def why_not(page: str, text: str) -> str | None:
    """Return why a command is not run here."""
    if page in FOLLOWED:
        return FOLLOWED[page]
    return next((why for part, why in NOT_RUN.items() if part in text or part == page), None)


RUN = list(dict.fromkeys(text for page, text in commands() if why_not(page, text) is None))


def test_most_commands_run() -> None:
    """A reason is no way out: each one is needed by a command, and the pages that are followed have their test."""
    found = list(commands())
    assert all((Path(__file__).parent / name).exists() for name in FOLLOWED.values())
    assert [] == [part for part in NOT_RUN if not any(part in text or part == page for page, text in found)]
    assert len(RUN) > 15


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_other_command_runs(tmp_path: Path) -> None:
    """In the order of the pages, on a manager and a worker that stand, and each ends as the page says."""
    (tmp_path / "worker.toml").write_text(CONFIG)
    for name in ("a.car", "b.car", "c.car", "d.car"):
        (tmp_path / name).write_bytes(name.encode() * 40)
    (tmp_path / "mnt/nvme0").mkdir(parents=True)
    with walkthrough.Shell.open(tmp_path) as shell:

        def done(text: str, codes: frozenset[int] = frozenset({0})) -> None:
            moved = text.replace("/tmp/deals", "deals").replace("/mnt/", "/srv/mnt/")
            code, lines = shell.run(moved, 120)
            assert code in codes, f"{text}: exit code {code}\n" + "\n".join(lines)

        done("export DAMOCLES_PATH=$PWD/manager")
        done("damocles-worker store sealing-init --loc " + " ".join(f"store{index}" for index in range(_THREADS)))
        done("damocles-worker store file-init --loc persist")
        done("damocles-manager mock --miner t010000 --sector-size 2KiB --max-sectors 0 > manager.log 2>&1 &")
        done("until damocles-manager status; do sleep 0.2; done")
        done("damocles-worker daemon -c worker.toml > worker.log 2>&1 &")
        done("until damocles-worker worker list -c worker.toml; do sleep 0.2; done")
        for text in RUN:
            if made := re.match(r"damocles-manager auth create (\w+)", text):
                shell.run(f"damocles-manager auth revoke {made[1]}", 120)  # another page has made one of that name
            done(text, next((frozenset(codes) for part, codes in CODES.items() if part in text), frozenset({0})))
