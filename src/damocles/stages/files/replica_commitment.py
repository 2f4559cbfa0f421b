"""CommR of a replica from its `p_aux`, to name files whose sector's record nobody has here.

`p_aux` holds CommC and the root of tree-r-last, 32 bytes each, and CommR is their Poseidon hash over the scalar field
of BLS12-381 as neptune defines it (https://github.com/argumentcomputer/neptune, `poseidon_spec.pdf`): width 3, 8 full
and 55 partial rounds, domain tag 3 of a binary Merkle tree, constants from Grain's shift register.
"""

import functools
from collections.abc import Iterator

P_AUX_BYTES = 64

_MODULUS = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
_FIELD_BITS = 255
_WIDTH, _FULL_ROUNDS, _PARTIAL_ROUNDS = 3, 8, 55
_DOMAIN_TAG = 3


def comm_r(p_aux: bytes) -> bytes:
    """Return the CommR (32 bytes) of the replica that a `p_aux` (64 bytes) is of.

    Raises:
        ValueError: It has another length.
    """
    if len(p_aux) != P_AUX_BYTES:
        raise ValueError(f"p_aux has {P_AUX_BYTES} bytes, not {len(p_aux)}")
    constants, matrix = _parameters()
    state = [_DOMAIN_TAG, *(int.from_bytes(p_aux[at : at + 32], "little") for at in (0, 32))]
    for number in range(_FULL_ROUNDS + _PARTIAL_ROUNDS):
        keys = constants[number * _WIDTH : (number + 1) * _WIDTH]
        state = [(value + key) % _MODULUS for value, key in zip(state, keys, strict=True)]
        is_full = not _FULL_ROUNDS // 2 <= number < _FULL_ROUNDS // 2 + _PARTIAL_ROUNDS
        state = [pow(value, 5, _MODULUS) if is_full or at == 0 else value for at, value in enumerate(state)]
        state = [
            sum(value * row[at] for value, row in zip(state, matrix, strict=True)) % _MODULUS for at in range(_WIDTH)
        ]
    return state[1].to_bytes(32, "little")


@functools.cache
def _parameters() -> tuple[list[int], list[list[int]]]:
    """Return the keys of all rounds, and the matrix that mixes the state."""
    bits = _grain()
    constants: list[int] = []
    while len(constants) < (_FULL_ROUNDS + _PARTIAL_ROUNDS) * _WIDTH:
        value = int("".join(str(next(bits)) for _ in range(_FIELD_BITS)), 2)
        if value < _MODULUS:
            constants.append(value)
    matrix = [[pow(x + _WIDTH + y, -1, _MODULUS) for y in range(_WIDTH)] for x in range(_WIDTH)]
    return constants, matrix


def _grain() -> Iterator[int]:
    """Yield the bits of the shift register, of each pair the second if the first is set."""
    sizes = (
        (1, 2),
        (1, 4),
        (_FIELD_BITS, 12),
        (_WIDTH, 12),
        (_FULL_ROUNDS, 10),
        (_PARTIAL_ROUNDS, 10),
        (2**30 - 1, 30),
    )
    register = [int(bit) for value, bits in sizes for bit in f"{value:0{bits}b}"]

    def step() -> int:
        new = register[62] ^ register[51] ^ register[38] ^ register[23] ^ register[13] ^ register[0]
        register.append(new)
        del register[0]
        return new

    for _ in range(160):
        step()
    while True:
        keep, bit = step(), step()
        if keep:
            yield bit
