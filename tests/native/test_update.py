"""Updating a sealed sector with data."""

import json
import os
from pathlib import Path

import damocles_proofs as proofs
import pytest

PROOF = "StackedDrg2KiBV1"


def test_encoding(update):
    """Encoding gives new commitments and trees, and leaves the key and the prepared tree-d as they were."""
    assert update.encoded.comm_d_new == update.data.comm_d
    assert update.encoded.comm_r_new != update.comm_r_old
    assert update.replica.read_bytes() != update.key.sealed.read_bytes()
    assert (update.cache / "sc-02-data-tree-d.dat").is_symlink()
    assert sorted(path.name for path in update.cache.iterdir()) == [
        "p_aux",
        "sc-02-data-tree-d.dat",
        "sc-02-data-tree-r-last.dat",
        "t_aux",
    ]


def test_encoding_again(update):
    """Encoding a second time over what a killed call has left ends in the same commitments."""
    again = proofs.update_encode_into(
        PROOF,
        update.replica,
        update.cache,
        update.key.sealed,
        update.key.cache,
        update.data.staged,
        update.data.pieces,
    )

    assert again == update.encoded


def test_decoding(update, tmp_path: Path):
    """Decoding gives back the staged bytes."""
    output = tmp_path / "decoded"
    output.touch()
    os.truncate(output, 2048)

    proofs.update_decode_from(
        PROOF, output, update.replica, update.key.sealed, update.key.cache, update.encoded.comm_d_new
    )

    assert output.read_bytes() == update.data.staged.read_bytes()


def test_removing_the_data(update, tmp_path: Path):
    """The sector key comes back from the replica and the data."""
    key, cache = tmp_path / "key", tmp_path / "key-cache"
    key.touch()
    os.truncate(key, 2048)
    cache.mkdir()

    proofs.update_remove_encoded_data(
        PROOF, key, cache, update.replica, update.key.cache, update.data.staged, update.encoded.comm_d_new
    )

    assert key.read_bytes() == update.key.sealed.read_bytes()
    assert (cache / "p_aux").read_bytes() == (update.key.cache / "p_aux").read_bytes()


def test_vanilla_proofs(update):
    """Vanilla proofs of an update verify against its commitments and no others."""
    vanilla = proofs.update_partition_proofs(PROOF, *update.commitments, *update.files)

    assert proofs.update_verify_partition_proofs(PROOF, vanilla, *update.commitments)
    old, new, data = update.commitments
    assert not proofs.update_verify_partition_proofs(PROOF, vanilla, new, old, data)


def test_json(update):
    """The output of encoding is three fields, commitments as lists of numbers."""
    encoded = update.encoded

    assert json.loads(encoded.to_json()) == {
        "comm_r_new": list(encoded.comm_r_new),
        "comm_r_last_new": list(encoded.comm_r_last_new),
        "comm_d_new": list(encoded.comm_d_new),
    }
    assert proofs.UpdateEncoded.from_json(encoded.to_json()) == encoded


def test_replica_of_wrong_size(update):
    """A new replica that has not the size of the sector is refused by name."""
    os.truncate(update.replica, 1024)

    with pytest.raises(proofs.FileError, match="update: has 1024 bytes, 2048 are expected"):
        proofs.update_encode_into(
            PROOF,
            update.replica,
            update.cache,
            update.key.sealed,
            update.key.cache,
            update.data.staged,
            update.data.pieces,
        )


@pytest.mark.params("update")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_proof(update):
    """The proof of an update verifies against its commitments and no others."""
    vanilla = proofs.update_partition_proofs(PROOF, *update.commitments, *update.files)
    proof = proofs.update_prove_with_vanilla(PROOF, vanilla, *update.commitments)

    assert proofs.update_verify(PROOF, proof, *update.commitments)
    old, new, data = update.commitments
    assert not proofs.update_verify(PROOF, proof, new, old, data)
