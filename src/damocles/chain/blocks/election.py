"""The election of an epoch: what a miner's worker key signs, and how many times the signature wins.

    entry = election.base_entry(previous, entries)
    proof = sign(worker, election.proof_input(entry.data, epoch, miner))
    wins = election.wins(proof, power, network_power)

Signatures of BLS keys are unique, so they serve as verifiable random functions: nobody can try another one. How many wins a signature
is follows a Poisson distribution whose mean is the miner's share of the quality-adjusted power times the blocks of an epoch; the
fixed-point arithmetic and its coefficients are those of the Filecoin specification and FIP-0003, since all nodes have to come to the same
number.
"""

import hashlib
from collections.abc import Sequence
from fractions import Fraction

from damocles.chain import cbor
from damocles.chain.addresses import Address

# Domains of randomness, as go-state-types numbers them.
_TICKET = 1
_ELECTION = 2
_WINNING_POST = 3

BLOCKS_PER_EPOCH = 5
_MOST_WINS = 3 * BLOCKS_PER_EPOCH
_TICKET_LOOKBACK = 1

_BITS = 256
# e^-x as a quotient of two polynomials, the highest power first, in units of 2^-128.
_NUMERATOR = (
    -648770010757830093818553637600,
    67469480939593786226847644286976,
    -3197587544499098424029388939001856,
    89244641121992890118377641805348864,
    -1579656163641440567800982336819953664,
    17685496037279256458459817590917169152,
    -115682590513835356866803355398940131328,
    1 << 128,
)
_DENOMINATOR = (
    1225524182432722209606361,
    114095592300906098243859450,
    5665570424063336070530214243,
    194450132448609991765137938448,
    5068267641632683791026134915072,
    104716890604972796896895427629056,
    1748338658439454459487681798864896,
    23704654329841312470660182937960448,
    259380097567996910282699886670381056,
    2250336698853390384720606936038375424,
    14978272436876548034486263159246028800,
    72144088983913131323343765784380833792,
    224599776407103106596571252037123047424,
    1 << 128,
)


def drawn(base: bytes, domain: int, epoch: int, entropy: bytes) -> bytes:
    """Return 32 bytes that are drawn from a ticket or from an entry of the beacon."""
    digest = hashlib.blake2b(base, digest_size=32).digest()
    content = domain.to_bytes(8, "big") + digest + epoch.to_bytes(8, "big", signed=True) + entropy
    return hashlib.blake2b(content, digest_size=32).digest()


def proof_input(entry: bytes, epoch: int, miner: Address) -> bytes:
    """Return what is signed to take part in an epoch's election; `entry` is the last one of the beacon."""
    return drawn(entry, _ELECTION, epoch, cbor.encode(miner.to_cbor()))


def ticket_input(entry: bytes, epoch: int, miner: Address, parent_ticket: bytes) -> bytes:
    """Return what is signed for the ticket of a block; `parent_ticket` is the least one of its parents."""
    return drawn(entry, _TICKET, epoch - _TICKET_LOOKBACK, cbor.encode(miner.to_cbor()) + parent_ticket)


def challenge(entry: bytes, epoch: int, miner: Address) -> bytes:
    """Return the randomness of the winning PoSt, from which the sector follows that is to be proved."""
    return drawn(entry, _WINNING_POST, epoch, cbor.encode(miner.to_cbor()))


def wins(proof: bytes, power: int, network_power: int) -> int:
    """Return how many times an election proof wins with some quality-adjusted power out of the network's; mostly 0."""
    if power <= 0 or network_power <= 0:
        return 0
    drawn_number = int.from_bytes(hashlib.blake2b(proof, digest_size=32).digest(), "big")
    mean = ((power * BLOCKS_PER_EPOCH) << _BITS) // network_power
    probability = _exp_of_minus(mean)
    rest = (1 << _BITS) - probability  # how likely more than `count` wins are
    count = 0
    while drawn_number < rest and count < _MOST_WINS:
        count += 1
        probability = (probability // count * mean) >> _BITS
        rest -= probability
    return count


def mean_wins(power: int, network_power: int) -> float:
    """Return how many wins an epoch brings on average."""
    return power * BLOCKS_PER_EPOCH / network_power if power > 0 and network_power > 0 else 0.0


def quality(ticket: bytes) -> float:
    """Return by how much a ticket is likely to be the least of its epoch, by which a node chooses messages: 1 is best."""
    number = int.from_bytes(hashlib.blake2b(ticket, digest_size=32).digest(), "big")
    return 1 - float(Fraction(number, 1 << _BITS))


def _exp_of_minus(exponent: int) -> int:
    return (_polynomial(_NUMERATOR, exponent) << _BITS) // _polynomial(_DENOMINATOR, exponent)


def _polynomial(coefficients: Sequence[int], at: int) -> int:
    result = 0
    for coefficient in coefficients:
        result = ((result * at) >> _BITS) + (coefficient << (_BITS - 128))
    return result
