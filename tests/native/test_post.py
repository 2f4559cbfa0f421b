"""Winning and window PoSt."""

from pathlib import Path

import damocles_proofs as proofs
import pytest

WINDOW = "StackedDrgWindow2KiBV1_2"
WINNING = "StackedDrgWinning2KiBV1"
PROVER_ID = b"\xe8\x07".ljust(32, b"\0")
RANDOMNESS = bytes([9]) * 31 + bytes([9 & 0x3F])


@pytest.fixture
def replicas(new_sector) -> list[proofs.PrivateReplica]:
    """Return three sealed sectors: two partitions of a window PoSt of 2KiB sectors."""
    sectors = [new_sector(number=number) for number in (3, 5, 8)]
    return [sector.private(sector.pc2(sector.pc1()).comm_r) for sector in sectors]


def public(replicas: list[proofs.PrivateReplica]) -> list[proofs.PublicReplica]:
    """Keep what a verifier knows."""
    return [proofs.PublicReplica(replica.sector_id, replica.comm_r) for replica in replicas]


def vanilla(proof: str, replicas: list[proofs.PrivateReplica]) -> list[bytes]:
    """Answer the challenges of each sector."""
    numbers = [replica.sector_id for replica in replicas]
    challenges = proofs.generate_fallback_sector_challenges(proof, RANDOMNESS, numbers, PROVER_ID)
    return [proofs.generate_single_vanilla_proof(proof, one, challenges[one.sector_id]) for one in replicas]


def test_window_challenges():
    """Each sector of a window PoSt gets ten leaves of its own."""
    challenges = proofs.generate_fallback_sector_challenges(WINDOW, RANDOMNESS, [3, 5], PROVER_ID)

    assert sorted(challenges) == [3, 5]
    assert {len(leaves) for leaves in challenges.values()} == {10}
    assert all(0 <= leaf < 64 for leaves in challenges.values() for leaf in leaves)
    assert challenges[3] != challenges[5]


def test_the_order_of_window_challenges():
    """Only the old proof type has other leaves for a sector at another place of the list."""
    for proof, is_same in ((WINDOW, True), ("StackedDrgWindow2KiBV1", False)):
        up, down = (
            proofs.generate_fallback_sector_challenges(proof, RANDOMNESS, numbers, PROVER_ID)
            for numbers in ([1, 2, 3], [3, 2, 1])
        )
        assert is_same == (up == down)


def test_winning_challenge():
    """A winning PoSt is about one sector of many, the same for the same randomness."""
    (index,) = proofs.generate_winning_post_sector_challenge(WINNING, RANDOMNESS, 1000, PROVER_ID)

    assert 0 <= index < 1000
    assert proofs.generate_winning_post_sector_challenge(WINNING, RANDOMNESS, 1000, PROVER_ID) == [index]
    (leaves,) = proofs.generate_fallback_sector_challenges(WINNING, RANDOMNESS, [index], PROVER_ID).values()
    assert len(leaves) == 66


def test_vanilla_proofs(replicas: list[proofs.PrivateReplica]):
    """Vanilla proofs need the trees of a finalised sector only, not its layers."""
    for replica in replicas:
        proofs.clear_cache(replica.cache_dir)

    window, winning = vanilla(WINDOW, replicas), vanilla(WINNING, replicas[:1])

    assert all(window)
    assert len(set(window)) == 3
    assert len(winning) == 1


def test_partitions():
    """Window PoSt of 2KiB takes two sectors in a partition."""
    assert [proofs.get_num_partition_for_fallback_post(WINDOW, count) for count in (1, 2, 3, 4, 5)] == [1, 1, 2, 2, 3]


def test_randomness_is_a_scalar():
    """Randomness with a high bit in its last byte is refused."""
    with pytest.raises(proofs.ProofsError, match="randomness"):
        proofs.generate_fallback_sector_challenges(WINDOW, b"\xff" * 32, [1], PROVER_ID)


def test_sector_twice(replicas: list[proofs.PrivateReplica]):
    """The same sector twice is a mistake of the caller."""
    with pytest.raises(ValueError, match="replicas: sector 3 comes twice"):
        proofs.generate_window_post(WINDOW, RANDOMNESS, [replicas[0], replicas[0]], PROVER_ID)


def test_sectors_without_files_are_faulty(replicas: list[proofs.PrivateReplica]):
    """Sectors whose files are gone are reported together, each with the file."""
    Path(replicas[0].sealed_path).unlink()
    Path(replicas[2].cache_dir, "p_aux").unlink()

    with pytest.raises(proofs.FaultySectorsError) as caught:
        proofs.generate_window_post(WINDOW, RANDOMNESS, replicas, PROVER_ID)
    assert caught.value.sectors == (3, 8)
    assert caught.value.problems == (
        f"{replicas[0].sealed_path}: is not found",
        f"{replicas[2].cache_dir}/p_aux: is not found",
    )


@pytest.mark.params("wdpost")
@pytest.mark.timeout(300)
def test_sectors_with_damaged_files_are_faulty(replicas: list[proofs.PrivateReplica]):
    """Sectors whose data does not fit the commitment are reported by number."""
    Path(replicas[1].sealed_path).write_bytes(Path(replicas[0].sealed_path).read_bytes())

    with pytest.raises(proofs.FaultySectorsError) as caught:
        proofs.generate_window_post(WINDOW, RANDOMNESS, replicas, PROVER_ID)
    assert (caught.value.sectors, caught.value.problems) == ((5,), ())


@pytest.mark.params("wdpost")
@pytest.mark.timeout(300)
def test_window_post(replicas: list[proofs.PrivateReplica]):
    """A window PoSt verifies against its sectors and no others, made in one go or by partitions."""
    proof = proofs.generate_window_post(WINDOW, RANDOMNESS, replicas, PROVER_ID)
    assert len(proof) == 2 * 192
    assert proofs.verify_window_post(WINDOW, RANDOMNESS, proof, public(replicas), PROVER_ID)
    swapped = [proofs.PublicReplica(3, replicas[1].comm_r), *public(replicas)[1:]]
    assert not proofs.verify_window_post(WINDOW, RANDOMNESS, proof, swapped, PROVER_ID)

    answers = vanilla(WINDOW, replicas)
    whole = proofs.generate_window_post_with_vanilla(WINDOW, RANDOMNESS, PROVER_ID, answers)
    assert proofs.verify_window_post(WINDOW, RANDOMNESS, whole, public(replicas), PROVER_ID)
    parts = [
        proofs.generate_single_window_post_with_vanilla(WINDOW, RANDOMNESS, PROVER_ID, some, index)
        for index, some in enumerate([answers[:2], answers[2:]])
    ]
    merged = proofs.merge_window_post_partition_proofs(WINDOW, parts)
    assert proofs.verify_window_post(WINDOW, RANDOMNESS, merged, public(replicas), PROVER_ID)


@pytest.mark.params("wdpost")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("prover", "verifies"), [("damocles", True), ("bellperson", False)])
def test_vanilla_proofs_out_of_order(replicas: list[proofs.PrivateReplica], monkeypatch, prover, verifies):
    """Our own prover puts them in order; the library's gives a proof that does not verify, without an error."""
    monkeypatch.setenv("DAMOCLES_PROVER", prover)
    answers = vanilla(WINDOW, replicas)
    proof = proofs.generate_window_post_with_vanilla(WINDOW, RANDOMNESS, PROVER_ID, [answers[2], *answers[:2]])
    assert verifies == proofs.verify_window_post(WINDOW, RANDOMNESS, proof, public(replicas), PROVER_ID)


@pytest.mark.params("winning")
@pytest.mark.timeout(300)
def test_winning_post(replicas: list[proofs.PrivateReplica]):
    """A winning PoSt verifies against its sector and no other, made in one go or from the vanilla proof."""
    one = replicas[:1]
    proof = proofs.generate_winning_post(WINNING, RANDOMNESS, one, PROVER_ID)
    assert len(proof) == 192
    assert proofs.verify_winning_post(WINNING, RANDOMNESS, proof, public(one), PROVER_ID)
    assert not proofs.verify_winning_post(WINNING, RANDOMNESS, proof, public(replicas[1:2]), PROVER_ID)

    other = proofs.generate_winning_post_with_vanilla(WINNING, RANDOMNESS, PROVER_ID, vanilla(WINNING, one))
    assert proofs.verify_winning_post(WINNING, RANDOMNESS, other, public(one), PROVER_ID)
