"""The devnode verifies real proofs: those of the field's library pass, the same with a flipped bit do not."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import damocles_proofs as native
import pytest

from damocles import proofs
from damocles.chain import methods
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import (
    Activation,
    NonInteractive,
    Piece,
    PoStPartition,
    PoStProof,
    PreCommit,
    PreCommitSectorBatch2,
    ProveCommitSectors3,
    ProveCommitSectorsNI,
    ProveReplicaUpdates3,
    SubmitWindowedPoSt,
    Update,
)
from damocles.chain.upkeep import Declaration, DeclareFaults, DeclareFaultsRecovered
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus import errors, node
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.wire import commitments
from damocles.wire.codec import Blob, Rows
from tests.integration.devnode.helpers import MINER, done, send, view
from tests.native.conftest import PROVER_ID, Sector, stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.params]
LIFE = 300 * 2880


@pytest.fixture(autouse=True)
def with_parameters() -> None:
    """Skip without the parameters of the proofs."""
    folder = Path(native.parameter_cache_dir())
    if not (folder / native.params_for("porep", 2048).vk).is_file():
        pytest.skip(f"no porep parameters of 2KiB in {folder}")


@pytest.fixture
async def devnode() -> AsyncIterator[Devnode]:
    """Yield a devnode that verifies, with short deadlines."""
    async with serving.serving(Rules(window_epochs=6)) as made:
        await made.step(30)
        yield made


@pytest.fixture
async def lotus(devnode: Devnode, tmp_path: Path) -> AsyncIterator[Node]:
    """Yield our client of it."""
    token = tmp_path / "token"
    token.write_text(devnode.token)
    token.chmod(0o600)
    async with node.connect(Place(url=devnode.url, token_file=token)) as made:
        yield made


async def offloaded(work: Callable[..., Any], *args: Any) -> Any:
    """Run what takes long in a thread."""
    return await anyio.to_thread.run_sync(work, *args)


async def sealed(devnode: Devnode, lotus: Node, sectors: list[Sector]) -> list[tuple[bytes, bytes, bytes]]:
    """Pre-commit sectors and prove them; return CommR, seed and proof of each."""
    at = devnode.chain.head.height - 3
    ticket = await (await view(lotus)).ticket(MINER, at)
    outputs = []
    for sector in sectors:
        pc1 = await offloaded(
            native.pc1,
            sector.proof,
            sector.cache,
            sector.staged,
            sector.sealed,
            PROVER_ID,
            sector.number,
            ticket,
            sector.pieces,
        )
        outputs.append(await offloaded(native.pc2, pc1, sector.cache, sector.sealed))
    batch = Rows(
        PreCommit(
            seal_proof=5,
            sector_number=sector.number,
            sealed_cid=commitments.sealed_cid(output.comm_r),
            seal_rand_epoch=at,
            expiration=at + LIFE,
        )
        for sector, output in zip(sectors, outputs, strict=True)
    )
    assert (await done(devnode, lotus, methods.PRE_COMMIT, PreCommitSectorBatch2(batch))).receipt.exit_code == 0
    await devnode.step(devnode.rules.challenge_delay)
    made = []
    for sector, output in zip(sectors, outputs, strict=True):
        found = await (await view(lotus)).pre_committed(MINER, sector.number)
        assert found is not None
        seed = await (await view(lotus)).seed(MINER, found.epoch + devnode.rules.challenge_delay)
        c1 = await offloaded(
            native.c1, sector.cache, sector.sealed, PROVER_ID, sector.number, ticket, seed, output, sector.pieces
        )
        made.append((output.comm_r, seed, await offloaded(native.c2, c1, PROVER_ID, sector.number)))
    return made


def flipped(proof: bytes) -> Blob:
    """Return a proof with a bit flipped."""
    return Blob(proof[:100] + bytes([proof[100] ^ 1]) + proof[101:])


async def test_a_sector_and_the_window_post_that_recovers_it(devnode: Devnode, lotus: Node, tmp_path: Path):
    """Its proof is accepted and a broken one is not; so are the window PoSts, as soon as they recover something."""
    sector = stage(tmp_path / "sector", number=3)
    ((comm_r, _, proof),) = await sealed(devnode, lotus, [sector])
    params = ProveCommitSectors3(activations=Rows([Activation(3)]), sector_proofs=Rows([flipped(proof)]))
    with pytest.raises(errors.WouldFail, match="no valid proofs") as refused:
        await send(lotus, methods.PROVE_COMMIT, params)
    assert refused.value.exit_code == 16
    params = ProveCommitSectors3(activations=Rows([Activation(3)]), sector_proofs=Rows([Blob(proof)]))
    assert (await done(devnode, lotus, methods.PROVE_COMMIT, params)).receipt.exit_code == 0

    place = await (await view(lotus)).location(MINER, 3)
    declared = Rows([Declaration(place.deadline, place.partition, Bitfield([3]))])
    await done(devnode, lotus, methods.DECLARE_FAULTS, DeclareFaults(declared))
    await done(devnode, lotus, methods.DECLARE_RECOVERED, DeclareFaultsRecovered(declared))
    assert 3 in await (await view(lotus)).recovering(MINER)
    while (now := await (await view(lotus)).period(MINER)).index != place.deadline:
        await devnode.step()
    await devnode.step(2)
    state = await view(lotus)
    seed = await state.window_challenge(MINER, now.challenge)
    challenge = seed[:31] + bytes([seed[31] & 0x3F])
    post = await offloaded(
        native.generate_window_post, "StackedDrgWindow2KiBV1_2", challenge, [sector.private(comm_r)], PROVER_ID
    )
    epoch = now.open

    async def submit(content: bytes) -> SubmitWindowedPoSt:
        return SubmitWindowedPoSt(
            deadline=place.deadline,
            partitions=Rows([PoStPartition(place.partition)]),
            proofs=Rows([PoStProof(10, Blob(content))]),
            chain_commit_epoch=epoch,
            chain_commit_rand=Blob(await state.chain_commit(epoch)),
        )

    with pytest.raises(errors.WouldFail, match="invalid post was submitted"):
        await send(lotus, methods.SUBMIT_WINDOW_POST, await submit(flipped(post)))
    receipt = (await done(devnode, lotus, methods.SUBMIT_WINDOW_POST, await submit(post))).receipt
    assert receipt.exit_code == 0
    assert not await (await view(lotus)).faulty(MINER)
    assert (await (await view(lotus)).power(MINER)).miner.raw == 2048


@pytest.mark.whole
async def test_an_aggregate_of_four_and_an_upgrade(devnode: Devnode, lotus: Node, tmp_path: Path):
    """An aggregate is accepted in its order alone; a proved and active sector takes data."""
    sectors = [stage(tmp_path / f"sector-{number}", number=number) for number in (1, 2, 3, 4)]
    made = await sealed(devnode, lotus, sectors)
    comm_rs, seeds, snarks = zip(*made, strict=True)
    aggregate = await offloaded(
        native.aggregate_seal_proofs, "StackedDrg2KiBV1_1", "SnarkPackV2", comm_rs, seeds, snarks
    )

    def params(*numbers: int) -> ProveCommitSectors3:
        return ProveCommitSectors3(
            activations=Rows(Activation(number) for number in numbers),
            aggregate_proof=Blob(aggregate),
            aggregate_proof_type=1,
        )

    with pytest.raises(errors.WouldFail, match="invalid aggregate"):
        await send(lotus, methods.PROVE_COMMIT, params(2, 1, 3, 4))
    receipt = (await done(devnode, lotus, methods.PROVE_COMMIT, params(1, 2, 3, 4))).receipt
    assert (receipt.exit_code, receipt.returned.hex()) == (0, "820480")

    place = await (await view(lotus)).location(MINER, 1)
    while (now := await (await view(lotus)).period(MINER)).index != place.deadline:
        await devnode.step()
    await devnode.step(2)
    state = await view(lotus)
    post = SubmitWindowedPoSt(
        deadline=place.deadline,
        partitions=Rows([PoStPartition(place.partition)]),
        proofs=Rows([PoStProof(10, Blob(bytes(192)))]),  # believed, since it recovers nothing
        chain_commit_epoch=now.open,
        chain_commit_rand=Blob(await state.chain_commit(now.open)),
    )
    assert (await done(devnode, lotus, methods.SUBMIT_WINDOW_POST, post)).receipt.exit_code == 0
    await devnode.step(2 * devnode.rules.window_epochs)

    key = sectors[0]
    native.clear_cache(key.cache)
    data = stage(tmp_path / "data", payload=bytes(range(1, 255)) * 8)
    replica, cache = tmp_path / "update", tmp_path / "update-cache"
    cache.mkdir()
    replica.write_bytes(bytes(2048))
    (cache / "sc-02-data-tree-d.dat").symlink_to(data.prepared / "sc-02-data-tree-d.dat")
    kind = "StackedDrg2KiBV1"
    encoded = await offloaded(
        native.update_encode_into, kind, replica, cache, key.sealed, key.cache, data.staged, data.pieces
    )
    vanilla = await offloaded(
        native.update_partition_proofs,
        kind, comm_rs[0], encoded.comm_r_new, encoded.comm_d_new, key.sealed, key.cache, replica, cache,
    )  # fmt: skip
    proof = await offloaded(
        native.update_prove_with_vanilla, kind, vanilla, comm_rs[0], encoded.comm_r_new, encoded.comm_d_new
    )

    def upgrade(content: bytes) -> ProveReplicaUpdates3:
        return ProveReplicaUpdates3(
            updates=Rows(
                [
                    Update(
                        sector_number=1,
                        deadline=place.deadline,
                        partition=place.partition,
                        new_sealed_cid=commitments.sealed_cid(encoded.comm_r_new),
                        pieces=Rows([Piece(cid=commitments.unsealed_cid(encoded.comm_d_new), size_bytes=2048)]),
                    )
                ]
            ),
            sector_proofs=Rows([Blob(content)]),
            update_proofs_type=0,
            require_activation_success=True,
        )

    with pytest.raises(errors.WouldFail, match="invalid update proof"):
        await send(lotus, methods.PROVE_UPDATES, upgrade(flipped(proof)))
    receipt = (await done(devnode, lotus, methods.PROVE_UPDATES, upgrade(proof))).receipt
    assert (receipt.exit_code, receipt.returned.hex()) == (0, "820180")
    upgraded = await (await view(lotus)).sector(MINER, 1)
    assert upgraded is not None
    assert upgraded.sealed_cid == commitments.sealed_cid(encoded.comm_r_new)
    assert upgraded.sector_key_cid == commitments.sealed_cid(comm_rs[0])
    assert upgraded.deal_weight > 0


@pytest.mark.whole
@pytest.mark.timeout(7200)
async def test_a_non_interactive_sector(devnode: Devnode, lotus: Node, tmp_path: Path):
    """The aggregate of its circuits brings a sector onto the chain without a pre-commit; it is one as others make it."""
    kind, seed = "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep", bytes([1]) * 32
    sector = stage(tmp_path / "sector", number=9, proof=kind)
    at = devnode.chain.head.height - 3
    ticket = await (await view(lotus)).ticket(MINER, at)
    pc1 = await offloaded(
        native.pc1, kind, sector.cache, sector.staged, sector.sealed, PROVER_ID, 9, ticket, sector.pieces
    )
    pc2 = await offloaded(native.pc2, pc1, sector.cache, sector.sealed)
    c1 = await offloaded(native.c1, sector.cache, sector.sealed, PROVER_ID, 9, ticket, seed, pc2, sector.pieces)
    circuits = await offloaded(native.c2_circuit_proofs, c1, 9)
    proof = await offloaded(native.aggregate_seal_proofs, kind, "SnarkPackV2", [pc2.comm_r], [seed], [circuits])

    def params(content: bytes) -> ProveCommitSectorsNI:
        one = NonInteractive(
            sealing_number=9,
            sealer_id=1000,
            sealed_cid=commitments.sealed_cid(pc2.comm_r),
            sector_number=9,
            seal_rand_epoch=at,
            expiration=at + LIFE,
        )
        return ProveCommitSectorsNI(
            sectors=Rows([one]),
            aggregate_proof=Blob(content),
            seal_proof_type=15,
            aggregate_proof_type=1,
            proving_deadline=40,
        )

    with pytest.raises(errors.WouldFail, match="invalid aggregate"):
        await send(lotus, methods.PROVE_NI, params(flipped(proof)))
    receipt = (await done(devnode, lotus, methods.PROVE_NI, params(proof))).receipt
    assert (receipt.exit_code, receipt.returned.hex()) == (0, "820180")
    assert (await (await view(lotus)).location(MINER, 9)).deadline == 40
    assert proofs.verify_aggregate(kind, proof, [(pc2.comm_r, sector.comm_d, PROVER_ID, 9, ticket, seed)])
