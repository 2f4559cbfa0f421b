"""Blocks and elections: as a real chain has them, and as the mathematics of it says."""

import decimal
import hashlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden.chain import recordings

from damocles import bls
from damocles.chain.addresses import Address
from damocles.chain.blocks import election
from damocles.chain.blocks.header import BlockMessage, Header
from damocles.wire import codec

# Who made all recorded blocks, with all of the network's power.
WORKER = Address.parse("f3rbeb2fanu6qitbgfrckijcudsrxghrlfscfuj6wx7lgy7pmhezwokvoz7uljznwb22ou3pddxycbgbak5l7q")
KEY = bytes(WORKER[1:])


def recorded() -> dict[str, Header]:
    """Return the blocks in the recordings by their ids, without the first of the chain."""
    rows = [*recordings.rows("exchanges"), *recordings.rows("heads")]
    tipsets: list[Any] = list(recordings.everywhere("Blocks", rows))
    pairs = itertools.chain.from_iterable(zip(one["Cids"], one["Blocks"], strict=True) for one in tipsets)
    found = {cid["/"]: codec.decode(codec.encode(block), Header) for cid, block in pairs}
    return {cid: header for cid, header in found.items() if header.height}


def test_blocks_have_the_ids_and_signatures_of_a_real_chain() -> None:
    """The CID of a header is that which a real node gave it, and its signature is one of what we say is signed."""
    blocks = recorded()

    assert len(blocks) > 15
    for cid, header in blocks.items():
        assert header.cid == cid
        assert header.signature is not None
        assert bls.verify(KEY, header.signing_bytes, header.signature.data)


def test_elections_are_those_of_a_real_chain() -> None:
    """Of each recorded block the election proof signs our input, and has won as often as we count."""
    for header in recorded().values():
        assert header.election is not None
        entry, proof = bytes(header.beacon[-1].data), bytes(header.election.proof)
        assert bls.verify(KEY, election.proof_input(entry, header.height, header.miner), proof)
        assert election.wins(proof, 40960, 40960) == header.election.wins


def test_tickets_are_those_of_a_real_chain() -> None:
    """Of each recorded block whose parent is recorded, also after null rounds, the ticket signs our input."""
    blocks, seen = recorded(), []
    for header in blocks.values():
        parent = blocks.get(header.parents[0])
        if parent is None:
            continue
        assert header.ticket is not None
        assert parent.ticket is not None
        wanted = election.ticket_input(
            bytes(header.beacon[-1].data), header.height, header.miner, bytes(parent.ticket.proof)
        )
        assert bls.verify(KEY, wanted, bytes(header.ticket.proof))
        seen.append(header.height - parent.height)
    assert set(seen) > {1, 2}


def test_another_epoch_miner_or_domain_is_another_input() -> None:
    """Nothing that is signed for one purpose serves another."""
    entry, miner, other = bytes(48), Address.of_id(1000), Address.of_id(1001)
    inputs = [
        *(election.proof_input(entry, epoch, one) for epoch in (7, 8) for one in (miner, other)),
        *(election.ticket_input(entry, 8, miner, ticket) for ticket in (b"", b"a")),
        election.challenge(entry, 7, miner),
        election.challenge(bytes([1]) + entry[1:], 7, miner),
    ]

    assert len(set(inputs)) == len(inputs)


@given(proof=st.binary(min_size=1, max_size=96), share=st.integers(0, 1000))
def test_wins_follow_the_poisson_distribution(proof: bytes, share: int) -> None:
    """As many wins as the exact distribution says, but within the error of the approximation."""
    with decimal.localcontext() as context:
        context.prec = 60
        drawn = decimal.Decimal(int.from_bytes(hashlib.blake2b(proof, digest_size=32).digest(), "big")) / 2**256
        mean = decimal.Decimal(share) * 5 / 1000
        term = (-mean).exp()
        rest = 1 - term
        bounds = [rest]
        for count in range(1, 15):
            term = term * mean / count
            rest -= term
            bounds.append(rest)
        exact = sum(drawn < bound for bound in bounds)
        near = any(abs(drawn - bound) < decimal.Decimal("1e-13") for bound in bounds)

    assert near or election.wins(proof, share, 1000) == exact


@pytest.mark.parametrize(("power", "network"), [(0, 100), (0, 0), (5, 0)])
def test_without_power_nobody_wins(power: int, network: int) -> None:
    """Nor where the network has none."""
    assert all(election.wins(bytes([one]), power, network) == 0 for one in range(50))


def test_the_quality_of_a_ticket_is_a_part_of_one() -> None:
    """It is what Lotus chooses messages by."""
    assert all(0 <= election.quality(bytes([one])) <= 1 for one in range(100))


def test_a_block_is_read_and_written_as_it_is() -> None:
    """What `MinerCreateBlock` has answered goes to `SyncSubmitBlock` with nothing lost."""
    ((_, answer),) = recordings.results("MinerCreateBlock")
    block = codec.decode(codec.encode(answer), BlockMessage)
    written = codec.decode(codec.encode(block), dict[str, Any])

    assert written["Header"] | {"Miner": answer["Header"]["Miner"]} == answer["Header"] | {
        "BeaconEntries": [],
        "WinPoStProof": [],
    }
