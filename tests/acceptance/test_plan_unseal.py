"""The plan `unseal` with real proofs: pieces come out of a sector and reach every kind of destination."""

import shutil

import pytest

from damocles.testing import farm
from damocles.testing.farm import MINER, Farm, cli, wait_until
from damocles.wire import seal

from . import plan_farms


def payloads(template) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """Return the CIDs of both pieces with their payloads."""
    found = {
        len(body): (path.stem, body) for path in (template / "deals").glob("*.car") for body in [path.read_bytes()]
    }
    return found[900], found[400]


def want(f: Farm, piece: str, *dests: str) -> None:
    """Ask for a piece at several destinations."""
    for dest in dests:
        plan_farms.ask(f, *("sectors", "unseal", piece, "--miner", str(MINER), "--sector", "1"), "--dest", dest)


def tasks(f: Farm) -> dict[str, seal.SectorUnsealInfo]:
    """Return the manager's tasks by piece."""
    with f.manager_client() as manager:
        listed = manager.call("Damocles.UnsealTasks", [], returns=list[seal.SectorUnsealInfo])
    return {task.piece_cid: task for task in listed}


@pytest.mark.timeout(400)
def test_a_piece_reaches_every_kind_of_destination(tmp_path, sealed):
    """File, HTTP server, persist store, the manager's piece store and a market each get the payload; no secret is kept."""
    (_, _), (piece, payload) = payloads(sealed)
    with plan_farms.receiver() as server, plan_farms.going_on(sealed, tmp_path, "unseal") as f:
        (tmp_path / "deals" / f"{piece}.car").unlink()
        host = f"127.0.0.1:{server.port}"
        want(
            f,
            piece,
            f"file://{tmp_path}/out/with%20space",
            f"http://{host}/up?signature=topsecret",
            "store://persist/pieces/b",
            "",
            f"market://Store1/{piece}?host={host}&scheme=http&token=topsecret",
        )
        f.start_worker()
        plan_farms.finished(f)

        assert payload == (tmp_path / "out" / "with space").read_bytes()
        assert payload == (tmp_path / "persist" / "pieces" / "b").read_bytes()
        assert payload == (tmp_path / "deals" / piece).read_bytes()
        (direct, _, first), (market, headers, second) = server.puts
        assert (payload, payload) == (first, second)
        assert direct == "/up?signature=topsecret"
        assert market == f"/resource?resource-id={piece}&store=Store1"
        assert headers["Authorization"] == "Bearer topsecret"

        assert ["AllocatedUnsealSector", "Unsealed", *["Uploaded"] * 5, "UploadPieceDone", "Finalized"] == f.events(0)
        assert "topsecret" not in f.log()
        assert b"topsecret" not in b"".join(path.read_bytes() for path in (f.stores[0] / "meta").iterdir())
        assert ("finished", "") == (tasks(f)[piece].state, tasks(f)[piece].error)
        after = plan_farms.record(f)
        assert (True, False, "") == (after.finalized, after.unsealing, after.abort_reason)


@pytest.mark.timeout(400)
def test_a_destination_that_fails_is_tried_again_and_the_others_are_left_alone(tmp_path, sealed):
    """Two refusals are two retries of that upload; what was delivered before is not delivered again."""
    (piece, payload), _ = payloads(sealed)
    with plan_farms.receiver(refusals=2) as server, plan_farms.going_on(sealed, tmp_path, "unseal") as f:
        want(f, piece, f"file://{tmp_path}/out", f"http://127.0.0.1:{server.port}/up")
        f.start_worker()
        plan_farms.finished(f)
        assert [payload] * 3 == [body for _, _, body in server.puts]
        assert (tmp_path / "out").read_bytes() == payload
        errors = [entry.error for entry in f.history(0) if entry.event == "Failed"]
        assert [f"upload to http://127.0.0.1:{server.port}/up: 503 Service Unavailable come back later"] * 2 == errors
        assert f.events(0).count("Uploaded") == 2


@pytest.mark.timeout(400)
def test_a_piece_that_is_given_up_is_told_and_the_sector_stays_good(tmp_path, sealed):
    """The manager hears why the piece does not come; the sector can be asked again and is not marked as lost."""
    (piece, payload), _ = payloads(sealed)
    sealing = "max_retries = 0"
    with (
        plan_farms.receiver(refusals=1) as server,
        plan_farms.going_on(sealed, tmp_path, "unseal", sealing=sealing) as f,
    ):
        url = f"http://127.0.0.1:{server.port}/up"
        want(f, piece, url)
        f.start_worker()
        plan_farms.paused_with(f, "permanent: upload to")
        assert tasks(f)[piece].state == "uploading"
        f.resume(0, "Aborted")
        farm_events = wait_until(lambda: "Discarded" in f.events(0) and f.events(0), "the sector is given up")
        assert "Finalized" not in farm_events
        assert ("failed", "task aborted") == (tasks(f)[piece].state, tasks(f)[piece].error)
        after = plan_farms.record(f)
        assert (True, False, "") == (after.finalized, after.unsealing, after.abort_reason)

        want(f, piece, url)
        wait_until(lambda: "Finalized" in f.events(0), "the piece is unsealed")
        assert server.puts[-1][2] == payload


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cleaned", [False, True])
def test_a_piece_comes_out_of_an_upgraded_sector(tmp_path, upgraded, cleaned):
    """The data of an upgrade is decoded, also where the replica from before it has been removed."""
    with plan_farms.going_on(upgraded, tmp_path, "unseal") as f:
        if cleaned:
            for folder in ("sealed", "cache"):
                shutil.rmtree(tmp_path / "persist" / folder)
        pieces = plan_farms.record(f).pieces
        assert pieces is not None
        want(f, pieces[1].piece.cid, f"file://{tmp_path}/out")
        f.start_worker()
        plan_farms.finished(f)
        assert (upgraded / "b").read_bytes() == (tmp_path / "out").read_bytes()
        after = plan_farms.record(f)
        assert (True, True, False) == (after.finalized, after.upgraded, after.unsealing)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_work_of_a_machine_that_is_gone_is_freed_by_hand(tmp_path, sealed):
    """While its worker lives nothing is taken from it; when it is gone another store gets the work, and it has no say."""
    (piece, payload), _ = payloads(sealed)
    with plan_farms.going_on(sealed, tmp_path, "unseal", seal_interval="500ms") as f:
        want(f, piece, f"file://{tmp_path}/out")
        f.start_worker(DAMOCLES_FAILPOINTS="handler.before:Unsealed=stop")
        plan_farms.wait_for_event(f, "Unsealed")
        at = ("--listen", f"127.0.0.1:{f.manager_port}", "--home", str(f.base / "manager"), "--yes")
        abort = ("damocles-manager", "util", "sealer", "sectors", "abort", str(MINER), "1", *at)
        assert f.worker is not None
        assert "use `util worker abort --sector s-t010000-1`" in cli(*abort, check=False).stderr
        farm.stop(f.worker, kill=True)
        cli("damocles-manager", "util", "worker", "remove", f.name, *at)
        assert f"{f.name} had it" in cli(*abort, "--reason", "the machine burnt").stdout
        assert not plan_farms.record(f).unsealing
        gone = tmp_path / "store-of-the-gone"
        accept = ("damocles-worker", "store", "accept", str(f.stores[0]), "-c", str(f.config))
        f.stores[0].rename(gone)
        cli("damocles-worker", "store", "sealing-init", "--loc", str(f.stores[0]))
        cli(*accept)
        want(f, piece, f"file://{tmp_path}/out")
        f.start_worker()
        plan_farms.finished(f)
        assert payload == (tmp_path / "out").read_bytes()
        plan_farms.stop_worker(f)
        shutil.rmtree(f.stores[0])
        gone.rename(f.stores[0])
        cli(*accept)
        f.start_worker()
        plan_farms.wait_for_event(f, "Discarded")
        assert list((f.stores[0] / "trash").iterdir())
        assert "" == plan_farms.record(f).abort_reason
