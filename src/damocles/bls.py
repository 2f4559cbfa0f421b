"""BLS signatures of keys of f3, by the library of proofs. With `damocles.proofs` the only importer of `damocles_proofs`."""

import damocles_proofs as native

KEY_BYTES = 32
PUBLIC_KEY_BYTES = 48
SIGNATURE_BYTES = 96


def new_key(seed: bytes) -> bytes:
    """Return a private key made of 32 random bytes or more."""
    return native.bls_generate_key(seed)


def public_key(secret: bytes) -> bytes:
    """Return the public key of a private one.

    Raises:
        ValueError: It is none.
    """
    return native.bls_public_key(secret)


def sign(secret: bytes, data: bytes) -> bytes:
    """Sign bytes of any length.

    Raises:
        ValueError: It is no private key.
    """
    return native.bls_sign(secret, data)


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Return whether a signature is that of a key; what is no key or no signature is not."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return native.bls_verify(signature, data, public)
