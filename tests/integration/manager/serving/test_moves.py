"""`damocles-manager util sealer export|import`: sector states from one manager to another."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from damocles.cli import manager as cli
from damocles.cli.of_manager import moves
from damocles.rpc import errors
from damocles.wire import codec, control, exports, records, seal
from damocles.wire.sectors import SealProof, SectorID, SectorSize

from ..conftest import Clock, Manager, Start
from ..sectors.test_list import fill

# What the original's daemon answered to `Venus.FindSector`: a sector in work and one that is over. Into the latter, whose
# number was 1 too, the answer to an `AcquireDeals` of the same manager is put.
GOLDEN = Path(__file__).parents[3] / "golden" / "manager" / "sector-states-original.jsonl"

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:")

Run = Callable[..., Any]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs `util sealer` beside a manager and gives its exit code, stdout and stderr."""

    async def run(manager: Manager, *arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        given = ["util", "sealer", *map(str, arguments), "--listen", manager.url]
        code = await anyio.to_thread.run_sync(cli.main, given)
        printed = capsys.readouterr()
        # The manager is in this process: its log comes out here too.
        lines = [line for line in printed.out.splitlines(keepends=True) if not LOG_LINE.match(line)]
        return code, "".join(lines), printed.err

    return run


@pytest.fixture
def homes(tmp_path: Path) -> Callable[[str], None]:
    """Return what makes `start` use another home, with its own sectors."""
    home = tmp_path / "home"

    def use(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        home.unlink(missing_ok=True)
        home.symlink_to(tmp_path / name)

    return use


def jsonl(values: list[Any]) -> str:
    """Write values, one a line."""
    return "".join(f"{json.dumps(value)}\n" for value in values)


def numbers(text: str) -> list[int]:
    """Return the sector numbers of an export."""
    return [json.loads(line)["sector"]["ID"]["Number"] for line in text.splitlines()]


async def audited(manager: Manager) -> list[control.AuditEntry]:
    """Return what the audit has of imports."""
    query = {"what": "SectorsImport"}
    return list(await manager.rpc.call("Damocles.AuditList", [query], returns=list[control.AuditEntry]))


async def test_an_export_imported_is_exported_alike(
    start: Start, homes: Callable[[str], None], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sectors of every fate, with deals, attempts and places of files, come out of another manager byte for byte."""
    monkeypatch.setattr(moves, "_PAGE", 3)
    monkeypatch.setattr(moves, "_BATCH_LINES", 2)
    homes("old")
    file, again = tmp_path / "states.jsonl", tmp_path / "again.jsonl"
    async with start() as manager:
        await fill(manager)
        claim = [SectorID(10000, 2), "worker-1", "/store1", None, None, "store-1"]
        ticket = await manager.call("AssignTicket", SectorID(10000, 2), returns=seal.Ticket)
        claim[4] = ticket
        attempt = await manager.rpc.call("Damocles.Claim", claim, returns=int)
        assert (0, f"4 sectors in {file}\n", "") == await run(manager, "export", "--out", file)
        assert (0, file.read_text(), "") == await run(manager, "export")
        for state, members in (("online", [2, 4]), ("offline", [1, 3])):
            code, out, _ = await run(manager, "export", "--state", state)
            assert (0, members) == (code, numbers(out))
        assert [] == await audited(manager)
    assert {"format", "state", "sector", "attempt"} == {*json.loads(file.read_text().splitlines()[1])}

    homes("new")
    async with start() as manager:
        expected = "4 would be added, 0 would be replaced, 0 unchanged\n"
        assert (0, expected, "") == await run(manager, "import", file, "--dry-run")
        assert (0, "", "") == await run(manager, "export")
        assert (0, "4 added, 0 replaced, 0 unchanged\n", "") == await run(manager, "import", file)
        await run(manager, "export", "--out", again)
        assert file.read_bytes() == again.read_bytes()
        (entry,) = await audited(manager)
        assert ("local", True, [f"s-t010000-{n}" for n in (1, 2, 3, 4)]) == (entry.who, entry.ok, entry.sectors)
        # The worker goes on under the number that it knows, and no number is given out twice.
        claim[3] = attempt
        assert attempt + 1 == await manager.rpc.call("Damocles.Claim", claim, returns=int)
        assert SectorID(10000, 5) == (await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)).id


async def test_sectors_that_are_here_are_replaced_on_request_only(start: Start, run: Run, tmp_path: Path) -> None:
    """Without --overwrite nothing changes; a dry run shows what would, and the audit keeps what was there before."""
    file = tmp_path / "states.jsonl"
    async with start() as manager:
        await fill(manager)
        await run(manager, "export", "--out", file)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        code, out, err = await run(manager, "import", file)
        assert (1, "") == (code, out)
        assert "4 of 4 sectors already exist (s-t010000-1, s-t010000-2, s-t010000-3, s-t010000-4)" in err
        assert "--overwrite" in err

        lines[1]["sector"]["AbortReason"] = "lost"
        lines[1]["sector"]["Finalized"], lines[1]["state"] = True, "offline"
        new = {**lines[3], "sector": {**lines[3]["sector"], "ID": {"Miner": 10000, "Number": 9}}}
        file.write_text(jsonl([*lines, new]))
        before = await manager.call("FindSectorInAllStates", SectorID(10000, 2))
        code, out, err = await run(manager, "import", file, "--dry-run")
        header, line, counts = out.splitlines()
        assert ["Sector", "Before", "After", "Changed"] == header.split()
        assert line.startswith("s-t010000-2  online, PCSubmitted  offline, aborted: lost  ")
        assert {"Finalized", "AbortReason"} == {*line.split()[-2:]}
        assert "1 would be added, 1 would be replaced, 3 unchanged" == counts
        assert (1, "error: 4 sectors already exist: without --overwrite nothing is imported\n") == (code, err)
        assert 0 == (await run(manager, "import", file, "--dry-run", "--overwrite"))[0]
        assert before == await manager.call("FindSectorInAllStates", SectorID(10000, 2))
        assert [False] == [entry.ok for entry in await audited(manager)]

        code, out, _ = await run(manager, "import", file, "--overwrite", "--reason", "the old one lied", "--json")
        told = json.loads(out)
        assert (0, 1, 3) == (code, len(told["added"]), len(told["unchanged"]))
        assert ["Finalized", "AbortReason"] == told["replaced"][0]["changed"]
        after = await manager.call("FindSectorInAllStates", SectorID(10000, 2))
        assert {**before, "Finalized": True, "AbortReason": "lost"} == after
        _, whole, one = await audited(manager)
        assert ("the old one lied", ["s-t010000-2"], "replaced") == (one.reason, one.sectors, one.outcome)
        assert (before, after) == (one.before["sector"], one.after["sector"])
        assert ("the old one lied", True) == (whole.reason, whole.ok)
        assert (await run(manager, "export"))[1] == file.read_text().replace(": ", ":").replace(", ", ",")


async def test_an_attempt_that_is_replaced_is_over(start: Start, run: Run, tmp_path: Path) -> None:
    """The worker that had a sector cannot change it any more, if the file gives it to another one."""
    file = tmp_path / "states.jsonl"
    async with start() as manager:
        await manager.call("AllocateSector", {})
        sector = SectorID(10000, 1)
        number = await manager.rpc.call("Damocles.Claim", [sector, "w1", "/a", None, None, "store-a"], returns=int)
        _, out, _ = await run(manager, "export")
        line = json.loads(out)
        line["attempt"] = {"number": 2, "worker": "w2", "location": "/b"}
        file.write_text(jsonl([line]))
        assert 0 == (await run(manager, "import", file, "--overwrite"))[0]
        ticket = ["Venus.AssignTicket", [sector]]
        with pytest.raises(errors.RpcError, match="attempt 2 at s-t010000-1 is over: attempt 3 belongs to w2"):
            await manager.rpc.call("Damocles.As", [sector, number, *ticket, "store-a"], returns=dict)
        assert 4 == await manager.rpc.call("Damocles.Claim", [sector, "w2", "/b", 2, None, "store-b"], returns=int)


def broken(line: str, how: str) -> str:
    """Return a line with something wrong in it."""
    value = json.loads(line)
    match how:
        case "cut":
            return line[:100]
        case "miner":
            value["sector"]["ID"]["Miner"] = 777
        case "state":
            value["state"] = "offline"
        case "proof":
            value["sector"]["SectorType"] = 99
        case "field":
            value["sector"]["Colour"] = "red"
        case "format":
            value["format"] = 2
        case "twice":
            value["sector"]["ID"]["Number"] = 1
        case "nothing":
            value = {"hello": "world"}
    return json.dumps(value)


@pytest.mark.parametrize(
    "wrong",
    [
        ("cut", "line 4: is not JSON"),
        ("miner", "line 4: s-t0777-4 is not of f010000, which this manager is for"),
        ("state", "line 4: the state is offline, but Finalized says online"),
        ("proof", "line 4: 99 is not a registered seal proof"),
        ("field", "line 4: unknown field(s) sector.Colour"),
        ("format", "line 4: Invalid enum value 2 - at `$.format`"),
        ("twice", "line 4: s-t010000-1 appears twice, first in line 1"),
        ("nothing", "line 4: is neither a line of an export"),
    ],
)
async def test_a_bad_line_keeps_the_whole_file_out(
    start: Start, homes: Callable[[str], None], run: Run, tmp_path: Path, wrong: tuple[str, str]
) -> None:
    """The line is named with what is wrong with it, and none of the others is imported."""
    how, text = wrong
    file = tmp_path / "states.jsonl"
    homes("old")
    async with start() as manager:
        await fill(manager)
        await run(manager, "export", "--out", file)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], broken(lines[3], how)]))
    homes("new")
    async with start() as manager:
        code, out, err = await run(manager, "import", file)
        assert (1, "") == (code, out)
        assert text in err
        assert (0, "", "") == await run(manager, "export")


async def test_an_import_is_taken_over_when_all_of_it_has_come(start: Start, run: Run, clock: Clock) -> None:
    """Too few lines are refused; those of an import that was given up are forgotten after an hour."""
    kept = exports.Kept(format=1, state="online", sector=records.SectorState.fresh(SectorID(10000, 1), 5))
    async with start() as manager:
        batch = exports.Batch(id="a", lines=[exports.Numbered(1, kept)])
        await manager.rpc.call("Damocles.SectorsImportBatch", [batch])
        with pytest.raises(errors.RpcError, match="not all lines of the import have come"):
            await manager.rpc.call("Damocles.SectorsImport", [exports.Import(id="a", count=2)])
        with pytest.raises(errors.RpcError, match="lines 1 to 1: a sector of them is in the file twice"):
            await manager.rpc.call("Damocles.SectorsImportBatch", [batch])
        clock.now += 3601
        await manager.rpc.call("Damocles.SectorsImportBatch", [exports.Batch(id="b", lines=[])])
        with pytest.raises(errors.RpcError, match="not all lines of the import have come"):
            await manager.rpc.call("Damocles.SectorsImport", [exports.Import(id="a", count=1)])


@pytest.mark.parametrize("form", ["lines", "array", "answer", "one", "pretty"])
async def test_records_of_the_original_come_as_they_are(start: Start, run: Run, tmp_path: Path, form: str) -> None:
    """One a line, an array, or an answer to a call: every field is kept, and a finished sector is offline."""
    lines = GOLDEN.read_text().splitlines()
    originals = [json.loads(line) for line in lines]
    file = tmp_path / "original.json"
    if form in {"one", "pretty"}:
        originals = originals[:1]
    file.write_text(
        {
            "lines": "\n".join(lines),
            "array": json.dumps(originals),
            "answer": json.dumps({"jsonrpc": "2.0", "result": originals, "id": 1}),
            "one": lines[0],
            "pretty": json.dumps(originals[0], indent=2),
        }[form]
    )
    async with start() as manager:
        code, out, err = await run(manager, "import", file, "--from-original")
        assert (0, f"{len(originals)} added, 0 replaced, 0 unchanged\n", "") == (code, out, err)
        _, out, _ = await run(manager, "export")
        kept = [json.loads(line) for line in out.splitlines()]
        assert originals == [line["sector"] for line in kept]
        assert ["offline" if one["Finalized"] else "online" for one in originals] == [line["state"] for line in kept]
        assert set() == {key for line in kept for key in line} - {"format", "state", "sector"}
        file.write_text(out)
        code, _, err = await run(manager, "import", file, "--from-original", "--overwrite")
        assert (1, True) == (code, "line 1: is not a record of the original" in err)


async def test_what_an_original_says_beside_is_named(start: Start, run: Run, tmp_path: Path) -> None:
    """A field that nobody here knows is left out with a warning; a piece without a deal is a filler."""
    value = json.loads(GOLDEN.read_text().splitlines()[0])
    value["Novelty"] = 1
    value["Pieces"] = [{"Piece": {"Size": 2048, "PieceCID": {"/": "baga6ea4seaq"}}, "DealInfo": None}]
    file = tmp_path / "original.json"
    file.write_text(json.dumps(value))
    async with start() as manager:
        code, _, err = await run(manager, "import", file)
        assert (0, f"warning: {file}: the field Novelty is unknown here; it is left out\n") == (code, err)
        found = codec.from_builtins(await manager.call("FindSectorInAllStates", value["ID"]), records.SectorState)
        assert found.pieces is not None
        assert found.pieces[0].is_filler


async def test_deals_go_with_their_sectors(
    start: Start, homes: Callable[[str], None], run: Run, tmp_path: Path
) -> None:
    """A deal that an imported sector has is given to no other."""
    value = json.loads(GOLDEN.read_text().splitlines()[1])
    piece = next(piece for piece in value["Pieces"] if piece["DealInfo"]["AllocationID"])
    folder = tmp_path / "deals"
    folder.mkdir()
    offer = {
        "PieceCID": piece["Piece"]["PieceCID"]["/"],
        "PieceSize": piece["Piece"]["Size"],
        "PayloadSize": 9,
        "AllocationID": piece["DealInfo"]["AllocationID"],
    }
    (folder / "deals.json").write_text(json.dumps([offer]))
    file = tmp_path / "original.json"
    file.write_text(json.dumps(value))
    for is_imported in (False, True):
        homes("b" if is_imported else "a")
        async with start(deals=folder) as manager:
            if is_imported:
                assert 0 == (await run(manager, "import", file))[0]
            sector = (await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)).id
            given = await manager.call("AcquireDeals", sector, {"MaxDeals": None, "MinUsedSpace": None})
            assert (0 if is_imported else 1) == len(given[:1])


async def test_the_store_of_files_can_be_said(start: Start, run: Run, tmp_path: Path) -> None:
    """For finished sectors whose lines do not say it; the store of an upgrade is in the record."""
    values = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    upgrade = {"AccessInstance": "p2", "SealedCID": None, "UnsealedCID": None, "Proof": None}
    third = {"ID": {"Miner": 10000, "Number": 3}, "Upgraded": True, "UpgradedInfo": upgrade}
    fourth = {"ID": {"Miner": 10000, "Number": 4}, "AbortReason": "lost"}
    file = tmp_path / "original.jsonl"
    file.write_text(jsonl([*values, {**values[1], **third}, {**values[1], **fourth}]))
    async with start() as manager:
        assert 0 == (await run(manager, "import", file, "--files-in", "p1"))[0]
        _, out, _ = await run(manager, "export")
    places = [json.loads(line).get("files") for line in out.splitlines()]
    assert [None, {"normal": "p1"}, {"normal": "p1", "upgrade": "p2"}, None] == places


async def test_files_are_known_where_they_lie(
    start: Start, homes: Callable[[str], None], run: Run, tmp_path: Path
) -> None:
    """The stores of a sector's files come along, and an import without them leaves those that are known."""
    kept = exports.Kept(
        format=1,
        state="online",
        sector=records.SectorState.fresh(SectorID(10000, 1), int(SealProof.of(SectorSize.KIB2))),
        files=exports.Files(normal="p1", upgrade="p2"),
    )
    file = tmp_path / "one.jsonl"
    file.write_bytes(codec.encode(kept))
    async with start() as manager:
        assert 0 == (await run(manager, "import", file))[0]
        _, out, _ = await run(manager, "export")
        assert out.encode() == codec.encode(kept) + b"\n"
        file.write_text(json.dumps({**json.loads(out), "files": None}))
        assert 0 == (await run(manager, "import", file, "--overwrite"))[0]
        assert out == (await run(manager, "export"))[1]


async def test_wrong_files_are_one_line(start: Start, run: Run, tmp_path: Path) -> None:
    """A file that is not there, is empty, or cannot be written is said in a line."""
    async with start() as manager:
        assert (1, "", f"error: {tmp_path}/no cannot be read: No such file or directory\n") == await run(
            manager, "import", tmp_path / "no"
        )
        (tmp_path / "empty").touch()
        assert (1, "", f"error: {tmp_path}/empty holds no sectors\n") == await run(
            manager, "import", tmp_path / "empty"
        )
        assert (1, "", f"error: {tmp_path}/no/x cannot be written: No such file or directory\n") == await run(
            manager, "export", "--out", tmp_path / "no" / "x"
        )
