"""The rules of the doctors, each alone."""

from pathlib import Path
from typing import cast

import damocles
from damocles.cli.doctor import findings, reading, rules
from damocles.cli.doctor.findings import Level
from damocles.manager.serving.sealer_api import SealerAPI
from damocles.wire.sectors import SectorSize
from damocles.worker.serving import control

GIB = 1 << 30
DAY = 86400.0


def levels(found) -> list[Level]:
    """Return what findings count as."""
    return [one.level for one in found]


def test_clocks_may_differ_by_a_little():
    """Within three seconds is well, half a minute is worth a look, more is wrong; an unknown one is not spoken of."""
    assert [[], [Level.OK], [Level.LOOK], [Level.WRONG], [Level.WRONG]] == [
        levels(rules.clock(offset, "the manager")) for offset in (None, -2.0, 4.0, 31.0, -4000.0)
    ]
    (behind,), (ahead,) = rules.clock(40.0, "the manager"), rules.clock(-40.0, "the manager")
    assert ("40 s behind that of", "40 s ahead of that of") == (behind.text[:19], ahead.text[:21])


def test_a_process_needs_files_for_its_threads():
    """Too few are wrong, with the limit that would do; no limit is well."""
    few = rules.open_files(256, 24, "the daemon")
    assert (Level.WRONG, True) == (few.level, "LimitNOFILE=288" in few.text)
    assert [Level.OK, Level.OK] == [rules.open_files(limit, 24, "the daemon").level for limit in (288, None)]


def test_pc1_would_lock_two_layers():
    """Twice the largest sector is enough; less is worth a look, since PC1 does without; who makes no layers needs none."""
    sizes = [SectorSize.KIB2, SectorSize.GIB32]
    found = [levels(rules.locked_memory(limit, sizes, "the daemon")) for limit in (None, 64 * GIB, 64 * GIB - 1)]
    assert [[Level.OK], [Level.OK], [Level.LOOK]] == found
    assert [] == levels(rules.locked_memory(0, [], "the daemon"))


def test_large_sectors_want_huge_pages():
    """Small ones do not notice, and a kernel that has none is not spoken of."""
    large, small = [SectorSize.GIB32], [SectorSize.KIB2]
    assert [[Level.OK], [Level.LOOK], [], []] == [
        levels(rules.huge_pages(mode, sizes))
        for mode, sizes in (("always", large), ("madvise", large), ("never", small), (None, large))
    ]


def test_certificates_end():
    """One that has ended is wrong, one that ends within a month is worth a look; both say what to do."""
    found = [rules.certificate(Path("a.pem"), days * DAY, 100 * DAY, "renew it") for days in (99, 129, 131)]
    assert [Level.WRONG, Level.LOOK, Level.OK] == levels(found)
    assert [True, True, False] == ["renew it" in one.text for one in found]


def test_versions_of_peers_are_ours_or_not():
    """The release counts, in the form of either program; the original's has none of ours."""
    ours = {"w1": control.VERSION, "the manager": f"v{damocles.__version__}-prod-python"}
    assert [Level.OK, Level.OK] == levels(rules.versions(ours))
    assert [Level.LOOK] == levels(rules.versions({"w1": "v0.13.1-damocles-py-0.0.9"}))
    (other,) = rules.versions({f"w{number}": "v0.13.0" for number in range(7)})
    assert (Level.OK, "w0, w1, w2, w3, w4 and 2 more: v0.13.0") == (other.level, other.text[:38])


async def test_the_managers_version_is_read_as_ours():
    """What the rule takes apart is what a manager reports."""
    version = await SealerAPI.version(cast("SealerAPI", None))
    assert [Level.OK] == levels(rules.versions({"the manager": version}))


def test_a_store_without_a_disk_of_its_own_is_told_once():
    """Before its first start nobody knows the store; later its mark shows whether it is the one that was there."""
    here = Path("/mnt/disk1")
    assert [Level.LOOK] == levels(rules.mount(here, device=1, root_device=1, is_known=False))
    assert [] == levels(rules.mount(here, device=1, root_device=1, is_known=True))
    assert [] == levels(rules.mount(here, device=2, root_device=1, is_known=False))


def test_secrets_that_everybody_can_read_are_wrong(tmp_path):
    """A file that is not there is no secret."""
    open_one, closed = tmp_path / "open", tmp_path / "closed"
    for file, mode in ((open_one, 0o644), (closed, 0o640)):
        file.touch()
        file.chmod(mode)
    (found,) = rules.secrets([open_one, closed, tmp_path / "none"])
    assert f"{open_one}: every user of this machine can read it: chmod o= {open_one}" == found.text


def test_limits_of_a_process_are_read_as_the_kernel_writes_them():
    """The hard limit counts; unlimited is none."""
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 20000                files     \n"
        "Max locked memory         8388608              unlimited            bytes     \n"
    )
    assert {"open files": 20000, "locked memory": None} == reading.limits_in(text)


def test_the_holder_of_a_lock_names_its_process():
    """Other words name none."""
    assert [17, None, None] == [reading.pid_in(words) for words in ("pid 17 on host", "unknown", None)]


def test_a_finding_fits_the_terminal():
    """Its sentence goes on below where it began; elsewhere it is one line."""
    one = findings.wrong("room", "no room in /mnt/disk1, since there is none: free some, or choose another disk")
    wrapped = list(findings.lines(one, width=60))
    assert max(map(len, wrapped)) <= 60
    assert "wrong  room           no room in /mnt/disk1, since there is" == wrapped[0]
    assert {" " * 22} == {line[:22] for line in wrapped[1:]}
    assert [" ".join(f"wrong  room           {one.text}".split())] == [
        " ".join(line.split()) for line in findings.lines(one)
    ]
