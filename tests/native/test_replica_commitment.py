"""CommR, worked out from `p_aux` alone."""

import os

import pytest

from damocles.stages.files import replica_commitment


def test_comm_r_is_that_of_the_library(new_sector):
    """What is worked out from `p_aux` is the CommR that PC2 gives."""
    sector = new_sector(payload=os.urandom(2000))
    sealed = sector.pc2(sector.pc1())
    assert replica_commitment.comm_r((sector.cache / "p_aux").read_bytes()) == sealed.comm_r


def test_another_length_is_refused():
    """A file that was cut is no `p_aux`."""
    with pytest.raises(ValueError, match="p_aux has 64 bytes, not 63"):
        replica_commitment.comm_r(bytes(63))
