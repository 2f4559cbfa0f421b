"""The handlers of the plan sealer, as dialogues: what the manager answers, what becomes of the sector."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from damocles import methods
from damocles.rpc import errors, tls
from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stages.files import strangers
from damocles.stores import layout
from damocles.stores.persist import PersistStore
from damocles.wire import commitments, records, seal, sectors, tasks
from damocles.worker import upstream
from damocles.worker.plans import repertoire, sealer, snapup

from ..conftest import SECTOR, ZERO, Bench

Make = Callable[..., Sector]
FILLER = seal.SectorPiece(
    seal.Piece(2048, commitments.unsealed_cid(commitments.zero_comm_d(2048))), seal.DealInfo(is_builtin_market=False)
)

SUBMITTED = [
    (seal.Submitted(1), None, ""),
    (seal.Submitted(2), None, ""),
    (seal.Submitted(3, "other CommR"), failures.Permanent, "other CommR"),
    (seal.Submitted(3), failures.Permanent, "mismatched"),
    (seal.Submitted(4, "bad ticket"), failures.Permanent, "rejected: bad ticket; resume from an earlier state"),
    (seal.Submitted(5), failures.Permanent, "files_missed"),
    (seal.Submitted(0, "busy"), failures.Temporary, "answered 0"),
    (seal.Submitted(9), failures.Temporary, "answered 9"),
    (errors.RpcError(1, "no sender"), failures.Temporary, "no sender"),
    (errors.RpcError(11001, "sector state not found"), failures.Unknown, "sector state not found"),
    (errors.TimedOut("http://manager", 60), failures.Temporary, "rpc error"),
]
POLLED = [
    (seal.Polled(1), "later"),
    (seal.Polled(2), "later"),
    (seal.Polled(3), "landed"),
    (seal.Polled(4, "unknown message"), failures.Permanent),
    (seal.Polled(5, "out of gas"), "again"),
    (seal.Polled(6, "exit code 18"), failures.Permanent),
    (seal.Polled(7, "sector number taken"), failures.Abort),
    (seal.Polled(0), failures.Temporary),
    (seal.Polled(8), failures.Temporary),
]


@pytest.mark.parametrize(("answer", "failure", "text"), SUBMITTED)
async def test_every_answer_to_a_pre_commit(bench: Bench, sector: Make, answer, failure, text) -> None:
    """Accepted and known are good; what differs, lacks files or is rejected needs an operator."""
    bench.caller.answers["SubmitPreCommit"] = [answer]
    job = bench.job(sector(resubmit_pre_commit=True))
    if failure is None:
        assert events.SubmitPC() == await sealer.submit_pre_commit(job)
    else:
        with pytest.raises(failure, match=text):
            await sealer.submit_pre_commit(job)
    ((_, (allocated, content, reset)),) = [asked for asked in bench.caller.asked if asked[0] == "Venus.SubmitPreCommit"]
    assert (SECTOR, ZERO, True) == (allocated.id, content.comm_r, reset)


@pytest.mark.parametrize(("answer", "failure", "text"), SUBMITTED)
async def test_every_answer_to_a_proof(bench: Bench, sector: Make, answer, failure, text) -> None:
    """A proof's answers mean the same."""
    bench.caller.answers["SubmitProof"] = [answer]
    job = bench.job(sector())
    if failure is None:
        assert events.SubmitProof() == await sealer.submit_proof(job)
    else:
        with pytest.raises(failure, match=text):
            await sealer.submit_proof(job)
    assert ("Venus.SubmitProof", [SECTOR, seal.Proof(b"proof"), False]) in bench.caller.asked


@pytest.mark.parametrize(("answer", "becomes"), POLLED)
@pytest.mark.parametrize(
    ("method", "poll", "landed", "again"),
    [
        ("PollPreCommitState", sealer.poll_pre_commit, events.CheckPC(), events.ReSubmitPC),
        ("PollProofState", sealer.poll_proof, events.Finish(), events.ReSubmitProof),
    ],
)
async def test_every_state_on_chain(
    bench: Bench, sector: Make, *, answer, becomes, method, poll, landed, again
) -> None:
    """Under way means wait, failed means send again, and what will never land needs an operator or ends the sector."""
    bench.caller.answers[method] = [answer]
    bench.options = replace(bench.options, rpc_polling_seconds=7.0)
    job = bench.job(sector())
    match becomes:
        case "later":
            event = await poll(job)
            assert isinstance(event, events.Later)
            assert event.seconds == 7.0
        case "landed":
            assert landed == await poll(job)
        case "again":
            event = await poll(job)
            assert isinstance(event, again)
            assert answer.desc in event.why
        case failure:
            with pytest.raises(failure, match=answer.desc or "answered"):
                await poll(job)


async def test_the_proof_is_not_polled_if_nobody_wants_to_know(bench: Bench, sector: Make) -> None:
    """`ignore_proof_check` finishes without asking."""
    bench.options = replace(bench.options, ignore_proof_check=True)
    assert events.Finish() == await sealer.poll_proof(bench.job(sector()))
    assert [] == bench.caller.asked


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (seal.WaitSeedResp(False, 0, seal.Seed(bytes(32), 9)), events.AssignSeed(seal.Seed(bytes(32), 9))),
        (seal.WaitSeedResp(True, 12), events.Later(12, "the seed's epoch")),
        (seal.WaitSeedResp(True, 0), None),
        (seal.WaitSeedResp(False, 5), None),
    ],
)
async def test_the_seed_is_waited_for(bench: Bench, sector: Make, answer, becomes) -> None:
    """The manager says how long; an answer without seed and without time is worth another try."""
    bench.caller.answers["WaitSeed"] = [answer]
    if becomes is None:
        with pytest.raises(failures.Temporary, match="invalid empty wait_seed response"):
            await sealer.wait_seed(bench.job(sector()))
    else:
        assert becomes == await sealer.wait_seed(bench.job(sector()))


@pytest.mark.parametrize(
    ("enable_deals", "disable_cc", "answer", "becomes"),
    [
        (False, False, None, events.AcquireDeals(None)),
        (True, False, None, events.AcquireDeals(None)),
        (True, False, [], events.AcquireDeals(None)),
        (True, False, [FILLER], events.AcquireDeals([FILLER])),
        (True, True, [FILLER], events.AcquireDeals([FILLER])),
        (True, True, [], events.Idle("deals (disable_cc)")),
        (True, True, None, events.Idle("deals (disable_cc)")),
        (False, True, None, events.Idle("deals, which are not enabled (disable_cc)")),
    ],
)
async def test_deals_are_asked_for_if_enabled(
    bench: Bench, sector: Make, *, enable_deals, disable_cc, answer, becomes
) -> None:
    """Without deals a sector is sealed empty, or waits where that is disabled."""
    bench.caller.answers["AcquireDeals"] = [answer]
    bench.options = replace(
        bench.options, enable_deals=enable_deals, disable_cc=disable_cc, max_deals=3, min_deal_bytes=512
    )
    assert becomes == await sealer.acquire_deals(bench.job(sector()))
    wanted = [("Venus.AcquireDeals", [SECTOR, seal.AcquireDealsSpec(3, 512)])] if enable_deals else []
    assert wanted == [ask for ask in bench.caller.asked if ask[0].startswith("Venus.")]


async def test_a_thread_that_waits_for_deals_says_why_there_are_none(bench: Bench, sector: Make) -> None:
    """The manager is asked when there are none; one that does not say, or fails to, costs the reason alone."""
    bench.options = replace(bench.options, enable_deals=True, disable_cc=True)
    bench.caller.answers["AcquireDeals"] = [[]]
    why = "no other is free; deal 9 of 4KiB cannot be in a sector of 2KiB"
    for answer in (why, "", errors.TimedOut("http://m", 5.0), errors.RpcError(errors.Code.FORBIDDEN, "no")):
        bench.caller.answers["Damocles.WhyNoDeals"] = [answer]
        told = f"deals (disable_cc): {why}" if answer == why else "deals (disable_cc)"
        assert events.Idle(told) == await sealer.acquire_deals(bench.job(sector()))
    assert ("Damocles.WhyNoDeals", [seal.AcquireDealsSpec(), 2048]) == bench.caller.asked[-1]


async def test_staged_pieces_are_checked(bench: Bench, sector: Make) -> None:
    """The commitment that was staged must be the deal's; a sector without deals has nothing to compare."""
    bench.stages["add_pieces"] = [tasks.PieceInfo(ZERO, 2032)]
    with pytest.raises(failures.Permanent, match=r"piece 0 .* has the commitment .*, its deal says"):
        await sealer.add_pieces(bench.job(sector(deals=[FILLER])))
    bench.stages["add_pieces"] = [tasks.PieceInfo(commitments.zero_comm_d(2048), 2032)]
    for deals in ([FILLER], None):
        event = await sealer.add_pieces(bench.job(sector(deals=deals)))
        assert events.AddPiece(bench.stages["add_pieces"]) == event
    assert ["pledge"] == [p.piece_file for p in bench.ran[1][1].pieces]
    assert [] == bench.ran[2][1].pieces


@pytest.mark.parametrize(("local", "level"), [(False, failures.Temporary), (True, failures.Permanent)])
async def test_a_download_that_fails_is_tried_again(
    bench: Bench, sector: Make, tmp_path: Path, local: bool, level: type[failures.Failure]
) -> None:
    """Where a piece comes from may be away for a while, as where one is uploaded to; a file of this machine is not."""
    if local:
        (tmp_path / FILLER.piece.cid).touch()
        bench.pieces = replace(bench.pieces, folders=(tmp_path,))
    bench.stages["add_pieces"] = failures.Permanent("broken")
    deal = seal.SectorPiece(seal.Piece(2048, FILLER.piece.cid), seal.DealInfo(deal_id=1, payload_bytes=9))
    with pytest.raises(level, match="broken"):
        await sealer.add_pieces(bench.job(sector(deals=[deal])))


async def test_a_certificate_that_is_not_trusted_is_not_waited_for(bench: Bench, sector: Make) -> None:
    """It will not be trusted later either: somebody has to set the authority."""
    bench.stages["add_pieces"] = failures.Permanent(f"piece https://manager/x: {tls.UNTRUSTED} (self-signed)")
    deal = seal.SectorPiece(seal.Piece(2048, FILLER.piece.cid), seal.DealInfo(deal_id=1, payload_bytes=9))
    with pytest.raises(failures.Permanent, match="self-signed"):
        await sealer.add_pieces(bench.job(sector(deals=[deal])))


async def test_an_unreadable_folder_of_pieces_is_for_an_operator(bench: Bench, sector: Make, tmp_path: Path) -> None:
    """A folder that cannot be looked at might have the piece: the manager is not asked instead."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    bench.pieces = replace(bench.pieces, folders=(loop,))
    deal = seal.SectorPiece(seal.Piece(2048, FILLER.piece.cid), seal.DealInfo(deal_id=1, payload_bytes=9))
    with pytest.raises(failures.Critical, match="loop"):
        await sealer.add_pieces(bench.job(sector(deals=[deal])))


async def test_links_of_a_store_that_came_from_elsewhere_lead_to_what_is_here(
    bench: Bench, sector: Make, tmp_path: Path
) -> None:
    """Links to tree-d, to the ready-made one and to the persist store are mended before C1; files are left alone."""
    static, persist = tmp_path / "static", tmp_path / "persist"
    bench.data = tmp_path / "store" / "data"
    bench.static_tree_d = {sectors.SectorSize(2048): static}
    bench.persist_stores["persist"] = PersistStore(name="persist", path=persist)
    bench.stages["c1"] = b"{}"
    job = bench.job(sector(access_instance="persist"))
    place = job.place
    replica, aux = f"sealed/{SECTOR}", f"cache/{SECTOR}/p_aux"
    links = {
        place.cache_dir / layout.TREE_D: static,
        place.update_cache_dir / layout.TREE_D: static,
        place.tree_d_file: static,
        place.sealed_file: persist / replica,
    }
    for target in links.values():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for name in links:
        name.parent.mkdir(parents=True)
        name.symlink_to(Path("/old", name.name))
    (bench.data / aux).write_bytes(b"ours")
    await sealer.c1(job)
    assert {name: target.resolve() for name, target in links.items()} == {name: name.resolve() for name in links}
    assert b"ours" == (bench.data / aux).read_bytes()
    bench.data.parent.rename(tmp_path / "moved")
    assert static.resolve() == (tmp_path / "moved/data/cache" / str(SECTOR) / layout.TREE_D).resolve()


async def test_a_ready_made_tree_d_that_is_not_here_is_named(bench: Bench, sector: Make) -> None:
    """A store from a machine with ready-made ones says what this one needs, and not which file the library misses."""
    job = bench.job(sector())
    job.place.prepared_dir.mkdir(parents=True)
    job.place.tree_d_file.symlink_to("/elsewhere/tree-d")
    wanted = "not here: /elsewhere/tree-d; make it with: damocles-worker generator tree-d --sector-size 2KiB"
    with pytest.raises(failures.Critical, match=wanted):
        await sealer.c1(job)


@pytest.mark.parametrize(("proof", "becomes"), [(5, events.PC2), (10, events.PC2NeedSyntheticProof)])
async def test_the_proof_type_decides_what_follows_pc2(bench: Bench, sector: Make, proof: int, becomes) -> None:
    """Synthetic proof types have one more state."""
    made = sector(allocated=seal.AllocatedSector(SECTOR, proof))
    bench.job(made).place.cache_dir.mkdir(parents=True)
    bench.stages = {"pc2": made.pc2out}
    assert becomes(made.pc2out) == await sealer.pc2(bench.job(made))


@pytest.mark.parametrize(("proof", "ran"), [(5, ["pc2", "c1"]), (10, ["pc2"])])
async def test_pc2_is_verified_on_request(bench: Bench, sector: Make, proof: int, ran: list[str]) -> None:
    """With `verify_after_pc2` vanilla proofs are tried right away; synthetic ones are tried where they are made."""
    made = sector(allocated=seal.AllocatedSector(SECTOR, proof))
    bench.job(made).place.cache_dir.mkdir(parents=True)
    bench.options = replace(bench.options, verify_after_pc2=True)
    bench.stages = {"pc2": made.pc2out, "c1": b"{}"}
    await sealer.pc2(bench.job(made))
    assert ran == [stage for stage, _ in bench.ran]


async def test_a_replica_that_does_not_verify_is_for_an_operator(bench: Bench, sector: Make) -> None:
    """What the check of PC2 finds is its failure; the sector is not pre-committed."""
    made = sector()
    bench.job(made).place.cache_dir.mkdir(parents=True)
    bench.options = replace(bench.options, verify_after_pc2=True)
    bench.stages = {"pc2": made.pc2out, "c1": failures.Permanent("the layers are damaged")}
    with pytest.raises(failures.Permanent, match="damaged"):
        await sealer.pc2(bench.job(made))


@pytest.mark.parametrize(
    ("answer", "stores", "message"),
    [
        (None, ("p",), None),
        (seal.StoreBasicInfo("other", "/other"), ("p",), "persist store 'other', which is not attached"),
        (seal.StoreBasicInfo("p", "/p"), (), "no available local persist store candidate"),
    ],
)
async def test_persisting_needs_a_store_with_space(bench: Bench, sector: Make, answer, stores, message) -> None:
    """No space means wait; a store that is not here, or none at all, needs an operator."""
    bench.caller.answers["StoreReserveSpace"] = [answer]
    bench.persist_stores = {name: PersistStore(name=name, path=bench.data / name) for name in stores}
    bench.persist_stores["read-only"] = PersistStore(name="read-only", path=bench.data, read_only=True)
    job = bench.job(sector())
    if message is None:
        assert events.Later(180.0, "space in a persist store (p)") == await sealer.persist(job)
        assert [SECTOR, 4096, ["p"]] == bench.caller.asked[-1][1]
    else:
        with pytest.raises(failures.Permanent, match=message):
            await sealer.persist(job)


@pytest.mark.parametrize("plan", ["sealer", "niporep", "snapup"])
async def test_no_copy_replaces_files_of_another_sector(bench: Bench, sector: Make, tmp_path: Path, plan: str) -> None:
    """A number that was handed out again pauses its thread before a stage runs; the stage has to look once more."""
    bench.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("p", "/p")]
    bench.persist_stores["p"] = PersistStore(name="p", path=tmp_path / "p")
    bench.stages["transfer"] = True
    handler = snapup.persist_update if plan == "snapup" else sealer.persist
    cache = "update-cache" if plan == "snapup" else "cache"
    job = bench.job(sector(plan=plan))
    for root, byte in ((bench.data, b"\1"), (tmp_path / "p", b"\1")):
        (root / cache / str(SECTOR)).mkdir(parents=True)
        (root / cache / str(SECTOR) / "p_aux").write_bytes(byte * 64)
    assert events.Persist("p") == await handler(job)
    ((_, task),) = bench.ran
    assert task.routes[0].dest["uri"] == str(tmp_path / "p" / cache / str(SECTOR) / "p_aux")
    (tmp_path / "p" / cache / str(SECTOR) / "p_aux").write_bytes(b"\2" * 64)
    with pytest.raises(failures.Permanent, match=f"{tmp_path}/p has files of {SECTOR} with CommR .*, ours have CommR"):
        await handler(job)
    with pytest.raises(strangers.Stranger):
        strangers.check(task.keep)
    assert len(bench.ran) == 1


@pytest.mark.parametrize(("found", "level"), [(True, None), (False, failures.Permanent)])
async def test_the_manager_has_to_find_the_files(bench: Bench, sector: Make, found, level) -> None:
    """Files that the manager does not find are for an operator."""
    bench.caller.answers["SubmitPersistedEx"] = [found]
    job = bench.job(sector(persist_instance="p"))
    if level is None:
        assert events.SubmitPersistance() == await sealer.submit_persisted(job)
    else:
        with pytest.raises(level, match="unavailable for sealer"):
            await sealer.submit_persisted(job)


@pytest.mark.parametrize("answer", [None, errors.RpcError(1, "no miner"), errors.TimedOut("http://manager", 60)])
async def test_no_sector_means_wait(bench: Bench, answer) -> None:
    """Neither nothing nor an error ends a thread that asks for a sector."""
    bench.caller.answers |= {"Damocles.Allocate": [answer], "AllocateSector": [answer]}
    event = await sealer.allocate_sector(bench.job(Sector(plan="sealer")))
    assert isinstance(event, events.Idle)
    assert ("" if answer is None else str(answer)) in event.why  # or nobody would see that a token is refused


@pytest.mark.parametrize(
    ("known", "failure"),
    [
        (records.KnownSector(finalized=True), failures.Abort),
        (records.KnownSector(), failures.Unknown),
        (None, failures.Unknown),
    ],
)
async def test_a_sector_that_is_not_at_work_is_lost_only_if_the_manager_knows_it(
    bench: Bench, sector: Make, known, failure
) -> None:
    """What the manager knows to be over is given up; a manager that knows nothing may have lost its database."""
    bench.caller.answers["SubmitProof"] = [errors.RpcError(11001, "sector state not found")]
    bench.caller.answers["FindSectorInAllStates"] = [known or errors.RpcError(1, "key not found")]
    with pytest.raises(failure):
        await sealer.submit_proof(bench.job(sector()))


@pytest.mark.parametrize(
    ("state", "told"), [(1, None), (2, None), (3, ["ReportFinalized", SECTOR]), (5, ["ReportAborted", SECTOR, "tired"])]
)
async def test_what_becomes_of_a_submitted_proof_decides_how_its_sector_ends(
    bench: Bench, sector: Make, state: int, told: list[object] | None
) -> None:
    """Giving up waits while the proof is on its way, finishes the sector if that has landed, and aborts it if not."""
    bench.caller.answers |= {"PollProofState": [seal.Polled(state)], "ReportFinalized": [None], "ReportAborted": [None]}
    manager = upstream.Manager(bench.caller)
    given_up = sector(state=State.Aborted, visited=(State.ProofSubmitted,))
    if told is None:
        with pytest.raises(failures.Away, match="the proof of s-t010000-1 is on its way"):
            await repertoire.report_aborted(manager, "worker-1", given_up, "tired")
    else:
        await repertoire.report_aborted(manager, "worker-1", given_up, "tired")
        assert (f"Venus.{told[0]}", told[1:]) == bench.caller.asked[-1]


async def test_threads_of_a_worker_have_attempts_of_their_own(bench: Bench) -> None:
    """One has finished a sector and did not hear the answer, the other one upgrades it by now: each calls as itself."""
    bench.caller.answers["Damocles.As"] = [None]
    worker = upstream.Manager(bench.caller)
    sealing, upgrading = worker.for_one_thread(), worker.for_one_thread()
    sealing.hold(SECTOR, 1)
    upgrading.hold(SECTOR, 2)
    await sealing.call(methods.sealer.report_finalized(SECTOR))
    await upgrading.call(methods.sealer.report_finalized(SECTOR))
    assert [1, 2] == [params[1] for _, params in bench.caller.asked]
