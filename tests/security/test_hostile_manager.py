"""What a manager hands out is refused before anything of it is kept, and reaches no file that it may not choose."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles import methods
from damocles.rpc import messages
from damocles.sealing import events, failures, planner
from damocles.sealing.sectors import Sector, UnsealPiece
from damocles.stages import job
from damocles.stages.files import copies
from damocles.stages.supervision import executor
from damocles.stores import identity, journal, sealing
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.stores.pieces import PieceStores
from damocles.wire import codec, commitments, seal, sectors, tasks, wdpost
from damocles.worker import upstream
from damocles.worker.plans import job as jobs
from damocles.worker.plans import persisting, repertoire, snapup, unseal
from damocles.worker.plans import wdpost as handlers_wdpost

ZERO = codec.Bytes32(bytes(32))
CID = str(commitments.unsealed_cid(ZERO))
NUMBERS = list(ZERO)
SECTOR = {"ID": {"Miner": 10000, "Number": 1}, "ProofType": 5}
TICKET = {"Ticket": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "Epoch": 100}
PIECE = {"Piece": {"Size": 2048, "PieceCID": {"/": CID}}, "DealInfo": {"DealID": 1, "PayloadSize": 9}}
UPGRADE = {
    "Sector": SECTOR,
    "Pieces": [PIECE],
    "Public": {"CommR": NUMBERS},
    "Private": {"AccessInstance": "persist"},
}
REBUILD = {"Sector": SECTOR, "Ticket": TICKET, "PiecesV2": [PIECE]}
UNSEAL = {
    "Sector": SECTOR,
    "PieceCid": {"/": CID},
    "Offset": 0,
    "Size": 127,
    "PrivateInfo": {"AccessInstance": "persist"},
    "Ticket": TICKET,
    "CommD": NUMBERS,
}
POST = {
    "Id": "post-1",
    "Input": {
        "MinerId": 10000,
        "ProofType": "StackedDrgWindow2KiBV1_2",
        "Seed": NUMBERS,
        "Sectors": [
            {
                "SectorId": 1,
                "CommR": NUMBERS,
                "Upgrade": False,
                "Accesses": {"SealedFile": "persist", "CacheDir": "persist"},
            }
        ],
    },
}
# Of each plan: the method that hands out work, with our claims and without, and honest work.
WORK: dict[str, tuple[str, str, Any]] = {
    "sealer": ("Damocles.Allocate", "Venus.AllocateSector", SECTOR),
    "snapup": ("Damocles.AllocateSanpUpSector", "Venus.AllocateSanpUpSector", UPGRADE),
    "rebuild": ("Damocles.AllocateRebuildSector", "Venus.AllocateRebuildSector", REBUILD),
    "unseal": ("Damocles.AllocateUnsealSector", "Venus.AllocateUnsealSector", UNSEAL),
    "wdpost": ("", "Venus.WdPoStAllocateJobs", [POST]),
}
LIES: dict[str, list[int]] = {
    "ProofType": [999, 20, -1, 2**70],
    "Number": [2**63, 2**64, 2**400, -1],
    "Miner": [2**63, -1],
    "Size": [2**63, -1],
    "Offset": [2**63, -127],
    "Epoch": [2**63],
    "DealID": [2**63],
    "SectorId": [2**63, -1],
    "MinerId": [2**63],
}


class Manager:
    """A manager that answers with prepared JSON, whatever that is, and nothing else."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers

    async def call(self, ask: methods.Ask[Any]) -> Any:
        """Answer as the JSON comes over the wire."""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": 1}
        if ask.method in self.answers:
            answer["result"] = self.answers[ask.method]
        else:
            answer["error"] = {"code": -32601, "message": f"method {ask.method} not found"}
        body = json.dumps(answer).encode()
        return messages.decode_answer(body, ask.returns, url="http://m", method=ask.method, status=200)


def at_work(base: Path, answers: Mapping[str, Any], sector: Sector, outlets: Outlets | None = None) -> jobs.Job:
    """Return what a handler gets; the stages copy files, and do no more."""

    async def run(stage: str, task: executor.Task) -> Any:
        made = await executor.made(task)
        assert isinstance(made, tasks.Transfer), stage
        return copies.run(made, job.Job())

    async def lacking(sizes: Iterable[sectors.SectorSize]) -> dict[sectors.SectorSize, str | None]:
        return dict.fromkeys(sizes)

    return jobs.Job(
        sector=sector,
        options=jobs.Options(),
        manager=upstream.Manager(Manager(answers)),
        run=run,
        worker="w",
        store="s",
        data=base / "store/data",
        persist_stores={"persist": PersistStore(name="persist", path=base / "persist")},
        memory=identity.NOTHING,
        static_tree_d={},
        pieces=PieceStores(origin="http://m"),
        outlets=outlets or Outlets(),
        lacking_for_post=lacking,
    )


def handed_out(plan: str, work: Any, *, claimed: bool) -> dict[str, Any]:
    """Return the answers of a manager that hands out this."""
    ours, plain, _ = WORK[plan]
    if not claimed or not ours:
        return {plain: work}
    return {ours: {"allocated" if plan == "sealer" else "given": work, "attempt": 1}}


def changed(honest: Any, key: str, lie: object) -> Any:
    """Return a copy of some JSON in which whatever has this name is a lie; None if nothing has it."""
    text = json.dumps(honest)
    made = json.loads(text, object_pairs_hook=lambda pairs: {k: lie if k == key else v for k, v in pairs})
    return made if json.dumps(made) != text else None


async def allocated(base: Path, plan: str, answers: Mapping[str, Any]) -> tuple[events.Event, bool]:
    """Ask for work; return what came of it, and whether it would be recorded."""
    before = Sector(plan=plan)
    event = await repertoire.HANDLERS[planner.PLANS[plan].steps[before.state].does](at_work(base, answers, before))
    after, _ = planner.step(before, event, planner.Limits(), 0.0)
    return event, not planner.is_passing(before, after)


@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("plan", WORK)
async def test_honest_work_is_taken(tmp_path: Path, plan: str, claimed: bool) -> None:
    """The answers that the lies are made of begin a sector."""
    event, is_recorded = await allocated(tmp_path, plan, handed_out(plan, WORK[plan][2], claimed=claimed))
    assert is_recorded, event


@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize(
    ("plan", "key", "lie"),
    [(plan, key, lie) for plan in WORK for key in LIES for lie in LIES[key] if changed(WORK[plan][2], key, lie)],
)
async def test_numbers_that_cannot_be_are_refused_before_anything_is_kept(
    tmp_path: Path, plan: str, key: str, lie: int, claimed: bool
) -> None:
    """The thread stays free, shows why it waits, and its journal has nothing of it."""
    answers = handed_out(plan, changed(WORK[plan][2], key, lie), claimed=claimed)
    event, is_recorded = await allocated(tmp_path, plan, answers)
    assert isinstance(event, events.Idle)
    assert (True, False) == (key in str(event.refused), is_recorded)


NO_CIDS = [
    *("../../../etc/passwd", "..", ".", "", "/etc/passwd", "a/b", "%2e%2e%2fx", "x\0y", "x\ny", "..\\..\\x"),
    *(
        CID.upper(),
        CID[:-1],
        f"{CID}/../x",
        f"{CID}=",
        CID.replace("s", "\u017f"),
        f"{CID} ",
        "baga6ea4seaq",
        f"../{CID}",
    ),
]


@pytest.mark.parametrize("cid", NO_CIDS)
async def test_a_piece_that_is_no_commitment_is_not_taken(tmp_path: Path, cid: str) -> None:
    """What would become the name of a file is the CID of a commitment in its one spelling, or the work is refused."""
    work = {**UNSEAL, "PieceCid": {"/": cid}}
    event, is_recorded = await allocated(tmp_path, "unseal", handed_out("unseal", work, claimed=True))
    assert isinstance(event, events.Idle)
    assert (True, False) == ("is not the CID" in str(event.refused), is_recorded)


@pytest.mark.parametrize("cid", NO_CIDS)
async def test_the_piece_of_a_deal_reaches_no_other_file(tmp_path: Path, cid: str) -> None:
    """Deals with such a piece are refused before a folder is looked into or a URL made of it."""
    (tmp_path / "pieces").mkdir()
    (tmp_path / "secret").write_text("secret")
    at = at_work(tmp_path, {}, Sector(plan="snapup", allocated=seal.AllocatedSector(sectors.SectorID(10000, 1), 5)))
    deal = seal.SectorPiece(seal.Piece(2048, codec.CID(cid)), seal.DealInfo(deal_id=1, payload_bytes=6))
    at = at.having(deals=[deal], access_instance="persist")
    with pytest.raises(failures.Permanent, match="is not the CID"):
        await snapup.add_deal_pieces(at)


STORES = ["../persist", "/etc", "persist/", "./persist", "Persist", "persist\0", "", "%70ersist", "persist/../persist"]


@pytest.mark.parametrize("name", STORES)
async def test_a_store_is_found_by_its_name_alone(tmp_path: Path, name: str) -> None:
    """A name that is not that of an attached store leads nowhere, whatever path it would make."""
    (tmp_path / "persist").mkdir()
    with pytest.raises(failures.Permanent, match="is not attached here"):
        persisting.attached(at_work(tmp_path, {}, Sector(plan="unseal")), name, "the manager says it is in")


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("key", ["SealedFile", "CacheDir"])
async def test_a_window_post_reads_in_attached_stores_alone(tmp_path: Path, name: str, key: str) -> None:
    """A job that names another store is not begun, and its manager hears why."""
    (tmp_path / "persist").mkdir()
    post = codec.decode(json.dumps(changed(POST, key, name)), wdpost.Job)
    event = await handlers_wdpost.generate_post(at_work(tmp_path, {}, Sector(plan="wdpost", post=post)))
    assert isinstance(event, events.Generate)
    assert (None, True) == (event.post_output, "not attached here" in str(event.post_error))


@pytest.mark.parametrize("name", STORES)
async def test_a_sector_is_unsealed_from_an_attached_store_alone(tmp_path: Path, name: str) -> None:
    """The stage is not run on a path that a name from elsewhere would make, upgraded sector or not."""
    sector = msgspec.structs.replace(unsealed(tmp_path), ticket=seal.Ticket(bytes(32), 1), access_instance=name)
    for known in ({}, {"UpgradedInfo": {"AccessInstance": name, "SealedCID": {"/": CID}, "UnsealedCID": {"/": CID}}}):
        answers = {"Venus.FindSectorInAllStates": known}
        with pytest.raises(failures.Permanent, match="not attached here"):
            await unseal.unseal(at_work(tmp_path, answers, sector))


def unsealed(base: Path) -> Sector:
    """Return a sector whose piece is out, with folders around it and a file that is precious."""
    for folder in ("store/data/unsealed", "persist/sealed", "out", "victim"):
        (base / folder).mkdir(parents=True)
    (base / "store/data/unsealed" / CID).write_bytes(b"the client's bytes")
    (base / "victim/precious.txt").write_text("precious")
    (base / "persist/sealed/s-t010000-77").write_text("a replica")
    return Sector(
        plan="unseal",
        allocated=seal.AllocatedSector(sectors.SectorID(10000, 1), 5),
        unseal_piece=UnsealPiece(codec.CID(CID), 0, 127, ZERO),
    )


@pytest.mark.parametrize(
    "url",
    [
        "file://{base}/victim/precious.txt",
        "file://{base}/victim/new/deep/dir/x.bin",
        "file://{base}/out/../victim/new.txt",
        "file://{base}/persist/sealed/s-t010000-77",
        "file://{base}/store/data/sealed/x",
        "store://persist/%2F{base}%2Fvictim%2Fescaped.txt",
        "store://persist/sealed/s-t010000-77",
        "store://persist/s%65aled/s-t010000-78",
    ],
)
async def test_a_destination_of_the_manager_s_replaces_and_makes_nothing(tmp_path: Path, url: str) -> None:
    """The thread pauses with the reason, and all files are as they were; an honest destination is served."""
    sector = unsealed(tmp_path)
    outlets = Outlets(folders=(tmp_path / "out",), spared=(tmp_path / "store",))
    good = f"file://{tmp_path}/out/piece"
    for wanted in (url.replace("{base}", str(tmp_path)), good):
        answers = {
            "Venus.AcquireUnsealDest": [wanted],
            "Venus.StoreBasicInfo": {"Name": "persist", "Path": "persist"},
        }
        before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        work = unseal.upload_piece(at_work(tmp_path, answers, sector, outlets))
        if wanted == good:
            assert events.Uploaded((good,)) == await work
            assert b"the client's bytes" == (tmp_path / "out/piece").read_bytes()
        else:
            with pytest.raises(failures.Permanent, match="destination"):
                await work
            assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}


async def test_a_piece_of_an_old_record_cannot_send_other_files(tmp_path: Path) -> None:
    """A name that came into a journal is looked at again before a file of that name is sent anywhere."""
    sector = unsealed(tmp_path)
    (tmp_path / "store/token").write_text("secret")
    at = at_work(tmp_path, {"Venus.AcquireUnsealDest": ["http://127.0.0.1:1/x"]}, sector)
    at = at.having(unseal_piece=UnsealPiece(codec.CID("../../token"), 0, 127, ZERO))
    with pytest.raises(failures.Permanent, match="is not the CID"):
        await unseal.upload_piece(at)


async def test_what_is_refused_leaves_the_journal_of_a_store_empty(tmp_path: Path) -> None:
    """With a real store: after a lie there is no sector to load, and no entry in its history."""
    sealing.init(tmp_path / "store")
    answers = handed_out("sealer", changed(SECTOR, "ProofType", 999), claimed=True)
    with sealing.opened(tmp_path / "store") as store:
        event, is_recorded = await allocated(tmp_path, "sealer", answers)
        assert (True, False) == (isinstance(event, events.Idle), is_recorded)
        assert store.journal.load() is None
    assert [] == list(journal.read(tmp_path / "store"))
