"""BLS signatures."""

import damocles_proofs as proofs
import pytest

SEED = bytes(range(32))


def test_signature():
    """A signature verifies for its key and message, and for nothing else."""
    key = proofs.bls_generate_key(SEED)
    public = proofs.bls_public_key(key)
    signature = proofs.bls_sign(key, b"message")

    assert (len(key), len(public), len(signature)) == (32, 48, 96)
    assert proofs.bls_verify(signature, b"message", public)
    assert not proofs.bls_verify(signature, b"another", public)
    other = proofs.bls_public_key(proofs.bls_generate_key(bytes(32)))
    assert not proofs.bls_verify(signature, b"message", other)


def test_keys_are_deterministic():
    """The same seed gives the same key."""
    assert proofs.bls_generate_key(SEED) == proofs.bls_generate_key(SEED)


def test_bytes_off_the_curve():
    """Bytes that are no point do not verify; no exception is raised."""
    public = proofs.bls_public_key(proofs.bls_generate_key(SEED))

    assert not proofs.bls_verify(b"\xff" * 96, b"message", public)
    assert not proofs.bls_verify(bytes(96), b"message", b"\xff" * 48)


def test_wrong_lengths():
    """Arguments of a wrong length are refused by name."""
    with pytest.raises(ValueError, match="seed: expected 32 bytes or more, got 3"):
        proofs.bls_generate_key(b"abc")
    with pytest.raises(ValueError, match="private_key: expected 32 bytes, got 31"):
        proofs.bls_sign(bytes(31), b"message")
    with pytest.raises(ValueError, match="private_key: "):
        proofs.bls_public_key(b"\xff" * 32)
    with pytest.raises(ValueError, match="signature: expected 96 bytes, got 0"):
        proofs.bls_verify(b"", b"message", bytes(48))
