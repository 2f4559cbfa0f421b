"""C2 and the verification of its proofs. Slow: each C2 of 2KiB takes a minute on two cores."""

import threading
import time

import damocles_proofs as proofs
import pytest

PROVER_ID = b"\xe8\x07".ljust(32, b"\0")
TICKET = bytes([1]) * 32
SEED = bytes([2]) * 32


@pytest.mark.params("porep")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_c2(new_sector):
    """C2 of a plain and of a synthetic sector verify with the same parameters, one by one and together.

    Other threads run meanwhile.
    """
    ticks = []
    stopped = threading.Event()

    def tick() -> None:
        while not stopped.wait(0.01):
            ticks.append(time.monotonic())

    sector = new_sector(payload=b"data")
    pc2 = sector.pc2(sector.pc1())
    c1 = sector.c1(pc2)
    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    proof = proofs.c2(c1, PROVER_ID, sector.number)
    end = time.monotonic()
    stopped.set()
    thread.join()

    assert len(proof) == 192
    gaps = [later - earlier for earlier, later in zip([start, *ticks], [*ticks, end], strict=True)]
    assert max(gaps) < (end - start) / 10
    claim = (pc2.comm_r, pc2.comm_d, PROVER_ID, sector.number, TICKET, SEED)
    assert proofs.verify_seal(sector.proof, *claim, proof)
    assert not proofs.verify_seal(sector.proof, *claim[:3], sector.number + 1, *claim[4:], proof)
    good = proofs.SealClaim(*claim, proof)
    bad = proofs.SealClaim(*claim[:5], TICKET, proof)
    assert proofs.verify_batch_seal(sector.proof, [good, good])
    assert not proofs.verify_batch_seal(sector.proof, [good, bad])


@pytest.mark.params("porep")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_c2_of_a_synthetic_sector(new_sector):
    """Synthetic PoRep proves with the parameters of plain PoRep."""
    sector = new_sector(proof="StackedDrg2KiBV1_1_Feat_SyntheticPoRep")
    pc2 = sector.pc2(sector.pc1())
    arguments = (sector.cache, sector.sealed, PROVER_ID, sector.number, TICKET)
    proofs.generate_synth_proofs(*arguments, pc2, sector.pieces)
    proofs.clear_cache(sector.cache)

    proof = proofs.c2(sector.c1(pc2), PROVER_ID, sector.number)

    claim = (pc2.comm_r, pc2.comm_d, PROVER_ID, sector.number, TICKET, SEED)
    assert proofs.verify_seal(sector.proof, *claim, proof)
