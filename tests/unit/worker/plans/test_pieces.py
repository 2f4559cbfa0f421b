"""From deals to the task that stages them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.manager.sectors import deals as market
from damocles.sealing import failures
from damocles.stores.pieces import PieceStores
from damocles.wire import codec, commitments, seal, tasks
from damocles.wire.sectors import SealProof, SectorID, SectorSize
from damocles.worker.plans import pieces

SECTOR = SectorID(10000, 1)
PROOF = SealProof(5)
STAGED = Path("/store/data/unsealed/s-t010000-1")
STORES = PieceStores(origin="http://manager:1789")


def cid(seed: int) -> codec.CID:
    """Return the CID of some piece."""
    return commitments.unsealed_cid(bytes([seed]) * 32)


def deal(size: int, number: int = 1, payload: int = 100, *, direct: bool = False) -> seal.SectorPiece:
    """Return a piece with data."""
    info = seal.DealInfo(0 if direct else number, number if direct else 0, payload, not direct)
    return seal.SectorPiece(seal.Piece(size, cid(number)), info)


def filler(size: int, *, builtin: bool = False) -> seal.SectorPiece:
    """Return a piece of zeros."""
    zeros = commitments.unsealed_cid(commitments.zero_comm_d(size))
    return seal.SectorPiece(seal.Piece(size, zeros), seal.DealInfo(is_builtin_market=builtin))


def task(*given: seal.SectorPiece, stores: PieceStores = STORES) -> tasks.AddPieces:
    """Return the task for some deals."""
    return pieces.add_pieces(SECTOR, PROOF, given, stores, STAGED)


def test_pieces_come_in_the_order_of_the_deals():
    """Each has its source, its payload and its unpadded size; zeros need no source."""
    made = task(deal(1024, 1, 900), deal(512, 2, 508, direct=True), filler(512, builtin=True))
    url = "http://manager:1789/piecestore"
    assert [
        tasks.PieceSource({"url": f"{url}/{cid(1)}"}, 900, 1016),
        tasks.PieceSource({"url": f"{url}/{cid(2)}"}, 508, 508),
        tasks.PieceSource("pledge", 0, 508),
    ] == made.pieces
    assert ("StackedDrg2KiBV1_1", str(STAGED)) == (made.seal_proof_type, made.staged_filepath)


def test_a_direct_piece_without_an_allocation_is_zeros():
    """What has neither deal nor allocation is a filler, whichever market it names."""
    assert ["pledge", "pledge"] == [
        source.piece_file for source in task(filler(1024), filler(1024, builtin=True)).pieces
    ]


def test_folders_come_before_the_manager(tmp_path):
    """The first folder that has the file, with or without suffix, wins; a folder of that name is no file."""
    one, two = tmp_path / "one", tmp_path / "two"
    (one / cid(1)).mkdir(parents=True)
    two.mkdir()
    (two / f"{cid(1)}.car").touch()
    (two / cid(2)).touch()
    stores = PieceStores(folders=(tmp_path / "missing", one, two), origin="http://manager")
    made = task(deal(1024, 1), deal(512, 2), deal(512, 3), stores=stores)
    assert [
        {"local": str(two / f"{cid(1)}.car")},
        {"local": str(two / cid(2))},
        {"url": f"http://manager/piecestore/{cid(3)}"},
    ] == [source.piece_file for source in made.pieces]


def test_the_token_is_only_along_where_the_manager_is_asked(tmp_path):
    """The token for the manager goes with the task if a piece comes from there, and is not on the wire otherwise."""
    stores = PieceStores(folders=(tmp_path,), origin="http://manager", token=lambda: "secret")
    assert {"http://manager": "secret"} == task(deal(2048), stores=stores).tokens
    (tmp_path / cid(1)).touch()
    assert b"tokens" not in codec.encode(task(deal(2048), stores=stores))
    assert b"tokens" not in codec.encode(task(deal(2048)))


def test_the_authority_is_only_along_where_the_manager_is_asked(tmp_path):
    """The file with whom to trust goes as the token does."""
    stores = PieceStores(folders=(tmp_path,), origin="https://manager", authority=Path("/etc/ca.pem"))
    assert {"https://manager": "/etc/ca.pem"} == task(deal(2048), stores=stores).authorities
    (tmp_path / cid(1)).touch()
    assert b"authorities" not in codec.encode(task(deal(2048), stores=stores))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([deal(1024)], "the pieces are 1024 bytes, the sector has 2048; the manager has to deliver"),
        ([deal(2048), deal(2048, 2)], "the pieces are 4096 bytes, the sector has 2048"),
        ([deal(512), deal(1024, 2), deal(512, 3)], "a piece of 1024 bytes cannot begin at 512"),
        ([deal(1000)], r"piece 0 \(deal 1\): 1000 is no size of a piece"),
        ([deal(1024), deal(64, 2)], r"piece 1 \(deal 2\): 64 is no size of a piece"),
        (
            [deal(2048, payload=2033)],
            r"piece 0 \(deal 1\): its payload of 2033 bytes does not fit in 2032 unpadded bytes",
        ),
        (
            [seal.SectorPiece(seal.Piece(2048, cid(1)), seal.DealInfo())],
            rf"piece 0 \(filler {cid(1)}\): a filler of 2048 bytes has the commitment baga6ea4seaqpy7us",
        ),
        (
            [
                seal.SectorPiece(
                    seal.Piece(2048, codec.CID("bafy")), seal.DealInfo(allocation_id=4, is_builtin_market=False)
                )
            ],
            r"piece 0 \(allocation 4\): 'bafy' is not the CID",
        ),
    ],
)
def test_deals_that_do_not_fit_are_refused(given, message):
    """What cannot be sealed is told before anything is staged, with the piece that is wrong."""
    with pytest.raises(failures.Permanent, match=f"deals of s-t010000-1: {message}"):
        task(*given)


def test_what_was_staged_is_compared():
    """Number, commitment and size must be those of the deals; the error has both."""
    deals = [deal(1024, 1), deal(1024, 2)]
    infos = [tasks.PieceInfo(commitments.commitment_of(piece.piece.cid), 1016) for piece in deals]
    pieces.check_staged(SECTOR, deals, infos)
    for wrong, message in (
        (infos[:1], "2 pieces were to be staged, the processor of add_pieces reported 1"),
        (infos[::-1], rf"piece 0 \(deal 1\) has the commitment {cid(2)}, its deal says {cid(1)}"),
        (
            [infos[0], tasks.PieceInfo(infos[1].commitment, 508)],
            r"piece 1 \(deal 2\) was staged with 508 unpadded bytes",
        ),
    ):
        with pytest.raises(failures.Permanent, match=message):
            pieces.check_staged(SECTOR, deals, wrong)


@given(sizes=st.lists(st.sampled_from([128, 256, 512, 1024, 2048, 4096]), max_size=20), most=st.integers(0, 9))
def test_what_the_market_lays_out_fits(sizes, most):
    """Whatever is offered, the pieces that the mock market gives fill the sector without a gap."""
    offers = [
        market.Offer(cid=str(cid(n % 200)), size_bytes=size, payload_bytes=1, deal_id=n + 1)
        for n, size in enumerate(sizes)
    ]
    chosen = market.choose(offers, 2048, seal.AcquireDealsSpec(most))
    assert len(chosen) <= most
    given = market.layout(chosen, 2048)
    pieces.check(SECTOR, SectorSize.KIB2, given)
    assert sorted(offer.deal_id for offer in chosen) == sorted(p.deal.deal_id for p in given if not p.is_filler)
