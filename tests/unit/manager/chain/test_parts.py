"""Which pieces need an allocation."""

from damocles.manager.chain import parts, terms
from damocles.manager.sectors import deals

PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"


def test_on_ones_own_devnode_data_without_a_client_is_sealed_as_data_of_nobody() -> None:
    """On a real chain all data is claimed; fillers never are."""
    ours = deals.Offer(cid=PIECE, size_bytes=1024, deal_id=7)
    unknown = deals.Offer(cid=PIECE, size_bytes=256, allocation_id=8)
    allocated = deals.Offer(cid=PIECE, size_bytes=256, allocation_id=9, client="t01002")
    pieces = deals.layout([ours, unknown, allocated], 2048)
    assert pieces[-1].is_filler
    assert pieces[:-1] == parts.to_claim(pieces, terms.NONE)
    assert [deals.as_piece(allocated)] == parts.to_claim(pieces, terms.OWN_DEVNODE)
