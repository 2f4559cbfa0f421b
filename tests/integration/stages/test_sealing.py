"""Real sectors of 2KiB, stage by stage: the results, and that a stage can be run again after a kill."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles import proofs
from damocles.stages import descriptors, errors
from damocles.stages.processor import builtin
from damocles.stages.supervision import executor
from damocles.wire import codec, tasks

from .sealed import PROOF, PROVER, SEED, SYNTHETIC, TICKET, ZERO_COMM_D, Sector, run_here, upgrade


def test_every_stage_has_a_processor() -> None:
    """Each stage of the table can be done by our own child."""
    assert set(descriptors.STAGES) == {*builtin.PROCESSORS, "transfer", "upload"}


async def test_sector_is_sealed_by_children(tmp_path: Path) -> None:
    """From pieces to C1 the stages run in the lane's child, and give what they give in this process."""
    sector, here = Sector(tmp_path), Sector(tmp_path / "here")
    here.folder.mkdir()
    here.seal()
    async with executor.Stages() as stages:

        async def run(stage: str, task: Any) -> Any:
            return await stages.run(stage, task, lane=0, on_status=lambda _: None)

        sector.pieces = await run("add_pieces", tasks.AddPieces(PROOF, [], sector.staged))
        assert [(ZERO_COMM_D, 2032)] == [(piece.commitment.hex(), piece.size) for piece in sector.pieces]
        Path(sector.prepared).mkdir()
        assert await run("tree_d", tasks.TreeD(PROOF, sector.staged, sector.prepared)) is True
        sector.prepare()
        sector.pc1out = await run("pc1", sector.pc1())
        sector.pc2out = await run("pc2", tasks.PC2(sector.pc1out, sector.cache, sector.sealed))
        assert here.pc2out == sector.pc2out
        assert ZERO_COMM_D == sector.pc2out.comm_d.hex()
        c1out = await run("c1", sector.c1())
        assert bytes(run_here("c1", here.c1())) == bytes(c1out)


async def test_proving_without_parameters_says_which_are_missing(tmp_path: Path) -> None:
    """C2 without parameters fails at once with the library's own message, in a child that the lanes share."""
    sector = Sector(tmp_path).seal()
    task = tasks.C2(run_here("c1", sector.c1()), PROVER, sector.number, 1000)
    pids = set()
    async with executor.Stages(envs={"FIL_PROOFS_PARAMETER_CACHE": str(tmp_path / "none")}) as stages:
        for lane in range(2):
            with pytest.raises(errors.StageFailed) as caught:
                await stages.run("c2", task, lane=lane, on_status=lambda _: None)
            pids.add(caught.value.pid)
        assert stages.pid(0) is None
    assert 1 == len(pids)
    circuit = "stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f"
    assert f"No cached parameters found for {circuit} [failure finding {tmp_path}/none/v28-{circuit}.params]" == str(
        caught.value
    )


async def test_process_is_replaced_after_a_panic(tmp_path: Path) -> None:
    """A panic of the library is the failure of its task, and the next task gets a fresh process."""
    sector = Sector(tmp_path).seal()
    output = msgspec.json.decode(sector.pc1out)
    output["config"]["size"] = None
    panics = tasks.PC2(msgspec.Raw(codec.encode(output)), sector.cache, sector.sealed)
    async with executor.Stages() as stages:
        pid = await stages.warm(0)
        with pytest.raises(errors.StageFailed, match=r"^Panic: disk store size not configured") as caught:
            await stages.run("pc2", panics, lane=0, on_status=lambda _: None)
        assert pid == caught.value.pid
        await stages.run("c1", sector.c1(), lane=0, on_status=lambda _: None)
        assert stages.pid(0) not in {pid, None}


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A stage whose input is not there names the file."""
    with pytest.raises(proofs.FileUnusable) as caught:
        run_here("tree_d", tasks.TreeD(PROOF, str(tmp_path / "none"), str(tmp_path)))
    assert str(tmp_path / "none") == caught.value.path


def test_unknown_proof_is_named() -> None:
    """A proof type that does not exist is an error that quotes it."""
    with pytest.raises(ValueError, match="'Stacked2KiB' is not a seal proof"):
        builtin.sector_bytes("Stacked2KiB")


def test_pieces_are_written_one_behind_the_other(tmp_path: Path) -> None:
    """Deals and fillers get their commitments, and a second run makes the same file anew."""
    (tmp_path / "a.car").write_bytes(os.urandom(900))
    sources = [
        tasks.PieceSource({"local": str(tmp_path / "a.car")}, 900, 1016),
        tasks.PieceSource("pledge", 0, 1016),
    ]
    sector = Sector(tmp_path)
    for _ in range(2):
        first, filler = run_here("add_pieces", tasks.AddPieces(PROOF, sources, sector.staged))
        assert 2048 == Path(sector.staged).stat().st_size
        with (tmp_path / "a.car").open("rb") as file:
            assert proofs.piece_commitment(PROOF, file.fileno(), 900, 1016) == first
        assert proofs.zero_piece(1016) == filler


def test_synthetic_proofs_replace_the_layers(tmp_path: Path) -> None:
    """After the stage C1 works without layers, and running the stage once more changes nothing."""
    sector = Sector(tmp_path, proof=SYNTHETIC).seal()
    assert run_here("synth_proof", sector.synthetic())
    assert [] == list(Path(sector.cache).glob("sc-02-data-layer-*"))
    before = run_here("c1", sector.c1())
    assert run_here("synth_proof", sector.synthetic())
    assert bytes(before) == bytes(run_here("c1", sector.c1()))


def test_synthetic_proofs_survive_kills(tmp_path: Path) -> None:
    """A kill while proofs are written makes them anew; a kill while layers are dropped drops the rest."""
    sector = Sector(tmp_path, proof=SYNTHETIC).seal()
    half = Path(sector.cache, "syn-porep-vanilla-proofs.dat")
    half.write_bytes(b"half")
    layers = sorted(Path(sector.cache).glob("sc-02-data-layer-*"))
    kept = {layer: layer.read_bytes() for layer in layers}
    assert run_here("synth_proof", sector.synthetic())
    good = half.read_bytes()
    layers[-1].write_bytes(kept[layers[-1]])
    assert run_here("synth_proof", sector.synthetic())
    assert (False, good) == (layers[-1].exists(), half.read_bytes())


def test_sector_is_unsealed(tmp_path: Path) -> None:
    """A range of the data comes out, whatever a killed try has left, and no layers stay."""
    data = os.urandom(2032)
    (tmp_path / "a.car").write_bytes(data)
    sector = Sector(tmp_path).seal([tasks.PieceSource({"local": str(tmp_path / "a.car")}, 2032, 2032)])
    left_over = tmp_path / "out.layers"
    left_over.mkdir()
    (left_over / "sc-02-data-layer-1.dat").write_bytes(bytes(2048))
    task = tasks.Unseal(
        PROOF,
        PROVER,
        sector.number,
        sector.pc2out.comm_d,
        TICKET,
        str(tmp_path / "nowhere"),
        sector.sealed,
        str(tmp_path / "out"),
        127,
        1016,
    )
    for _ in range(2):
        assert 1016 == run_here("unseal", task)
        assert data[127 : 127 + 1016] == (tmp_path / "out").read_bytes()
        assert not left_over.exists()


def test_sector_is_upgraded_up_to_its_vanilla_proofs(tmp_path: Path) -> None:
    """New data is encoded into a sealed sector, and there is a vanilla proof for each partition."""
    assert [True] == [len(proof) > 0 for proof in upgrade(tmp_path).vannilla_proofs]


def test_data_comes_out_of_an_upgraded_sector(tmp_path: Path) -> None:
    """A range of the data of an upgrade is written anew at each run, and nothing else is left."""
    proof = upgrade(tmp_path)
    task = tasks.SnapDecode(
        registered_proof=proof.registered_proof,
        replica_path=str(tmp_path / "new" / "update"),
        sector_path=str(tmp_path / "sealed"),
        sector_cache_path=str(tmp_path / "cache"),
        comm_d_new=proof.comm_d_new,
        unsealed_output=str(tmp_path / "out"),
        offset=100,
        num_bytes=1500,
    )
    (tmp_path / "out.padded").write_bytes(b"left over")
    for _ in range(2):
        assert 1500 == run_here("snap_decode", task)
        assert (tmp_path / "a.car").read_bytes()[100:1600] == (tmp_path / "out").read_bytes()
        assert not (tmp_path / "out.padded").exists()


def test_faulty_sectors_are_an_output(tmp_path: Path) -> None:
    """A window PoSt over a sector whose files are gone names it instead of failing."""
    sector = Sector(tmp_path).seal()
    Path(sector.sealed).unlink()
    replica = tasks.Replica(sector.number, sector.pc2out.comm_r, sector.cache, sector.sealed)
    task = tasks.WindowPoSt(1000, "StackedDrgWindow2KiBV1_2", [replica], codec.Bytes32(b"\xff" * 32))
    assert tasks.WindowPoStOutput([], [sector.number]) == run_here("window_post", task)


def need_parameters(kind: str) -> None:
    """Skip the test if a set of parameters of 2KiB is not there."""
    missing = [
        name for name in proofs.parameter_files(kind, 2048) if not Path(proofs.parameter_cache_dir(), name).exists()
    ]
    if missing:
        pytest.skip(f"{proofs.parameter_cache_dir()} lacks {', '.join(missing)}: run `make params`")


@pytest.mark.params
async def test_spacetime_is_proved(tmp_path: Path) -> None:
    """Window and winning PoSt are made by children of their own; a damaged sector is named."""
    need_parameters("wdpost")
    need_parameters("winning")
    sector = Sector(tmp_path).seal()
    replica = tasks.Replica(sector.number, sector.pc2out.comm_r, sector.cache, sector.sealed)
    window = tasks.WindowPoSt(1000, "StackedDrgWindow2KiBV1_2", [replica], codec.Bytes32(b"\xff" * 32))
    winning = tasks.WindowPoSt(1000, "StackedDrgWinning2KiBV1", [replica], codec.Bytes32(b"\xff" * 32))
    async with executor.Stages() as stages:

        async def run(stage: str, task: Any) -> Any:
            return await stages.run(stage, task, lane=0, on_status=lambda _: None)

        out = await run("window_post", window)
        assert ([192], []) == ([len(proof) for proof in out.proofs], out.faults)
        assert [192] == [len(proof) for proof in (await run("winning_post", winning)).proofs]
        Path(sector.sealed).write_bytes(bytes(2048))
        assert tasks.WindowPoStOutput([], [sector.number]) == await run("window_post", window)


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_sector_is_proved_and_verified(tmp_path: Path) -> None:
    """C2 gives a proof that verifies, and none that verifies for another sector."""
    need_parameters("porep")
    sector = Sector(tmp_path).seal()
    async with executor.Stages() as stages:

        async def run(stage: str, task: Any) -> Any:
            return await stages.run(stage, task, lane=0, on_status=lambda _: None)

        out = await run("c2", tasks.C2(await run("c1", sector.c1()), PROVER, sector.number, 1000))
        claim = tasks.VerifySeal(
            PROOF,
            sector.pc2out.comm_r,
            sector.pc2out.comm_d,
            PROVER,
            sector.number,
            TICKET,
            SEED,
            bytes(out.proof),
        )
        assert (192, True) == (len(out.proof), await run("verify_seal", claim))
        assert await run("verify_seal", msgspec.structs.replace(claim, sector_id=sector.number + 1)) is False


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_upgrade_is_proved_and_verified(tmp_path: Path) -> None:
    """The proof of an upgrade verifies, and not for other data."""
    need_parameters("update")
    task = upgrade(tmp_path)
    async with executor.Stages() as stages:

        async def run(stage: str, task: Any) -> Any:
            return await stages.run(stage, task, lane=0, on_status=lambda _: None)

        proof = await run("snap_prove", task)
        claim = tasks.SnapVerify(task.registered_proof, proof, task.comm_r_old, task.comm_r_new, task.comm_d_new)
        assert await run("snap_verify", claim) is True
        assert await run("snap_verify", msgspec.structs.replace(claim, comm_r_old=task.comm_r_new)) is False
