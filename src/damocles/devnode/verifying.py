"""Whether proofs are valid, by the field's own library; each is looked at once, however often it is asked for.

Blocking, and some take seconds: call from a thread. A machine without the verifying key gives no verdict.
"""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from damocles import proofs
from damocles.devnode.actors.claims import Aggregate
from damocles.devnode.actors.draft import Unverifiable
from damocles.wire import tasks

_LACKING = ("No cached parameters found", "No cached srs key found")


def verdict_of(claim: Any) -> bool:
    """Return what the field's library says of a claim.

    Raises:
        Unverifiable: It says nothing.
    """
    try:
        match claim:
            case tasks.VerifySeal():
                return proofs.verify_seal(claim)
            case tasks.SnapVerify():
                return proofs.snap_verify(claim)
            case tasks.VerifyWinningPoSt():
                return proofs.verify_winning_post(claim)
            case tasks.VerifyWindowPoSt():
                return proofs.verify_window_post(claim)
            case Aggregate():
                return _aggregate(claim)
    except proofs.ProofsError as error:
        if any(words in str(error) for words in _LACKING):
            raise Unverifiable(
                f"the devnode cannot verify proofs: {error}; make the parameters of test networks with:"
                " damocles-worker params generate --sector-size 2KiB"
            ) from error
        return False
    raise TypeError(f"{type(claim).__name__} is no claim")


def _aggregate(claim: Aggregate) -> bool:
    return proofs.verify_aggregate(
        claim.registered_proof,
        claim.proof,
        [
            (member.comm_r, member.comm_d, member.prover_id, member.number, member.ticket, member.seed)
            for member in claim.members
        ],
    )


class _Hashed:
    """A claim by its content."""

    def __init__(self, claim: Any) -> None:
        self.claim = claim
        self._content = (type(claim), msgspec.msgpack.encode(claim, enc_hook=bytes))

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and other._content == self._content


def verifier(verdict: Callable[[Any], bool] = verdict_of) -> Callable[[Any], bool]:
    """Return what verifies claims, by the field's library or by another one's verdict; it remembers the last ones."""
    remembered = functools.lru_cache(maxsize=4096)(lambda hashed: verdict(hashed.claim))
    return lambda claim: remembered(_Hashed(claim))


def accept_any(claim: Any) -> bool:
    """Take every proof for valid that is not empty; a devnode that does so says so wherever it speaks."""
    return bool(claim.proof)
