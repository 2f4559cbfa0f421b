"""Bugs to plant in the manager, each for the seeds to find."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias
from unittest import mock

from damocles.manager.db import leases
from damocles.manager.outbox import orders
from damocles.manager.plans import wdpost, wdpost_loans, wdpost_turns
from damocles.manager.proving import mind, windows

Bug: TypeAlias = Callable[[random.Random], Any]  # from dice to a patch

_act, _terms_of = mind._act, windows.terms_of  # noqa: SLF001
_renewed = leases.renewed


def _any_challenge(_: random.Random) -> Any:
    """Send proofs for challenges that the chain has taken back."""

    def act(window: mind.Window, seen: mind.Seen, post: mind.Post, terms: mind.Terms) -> mind.Act | None:
        return _act(window, seen, replace(post, seed=seen.seed), terms)

    return mock.patch.object(mind, "_act", act)


def _no_retry(_: random.Random) -> Any:
    """Ask provers that have all failed never again."""

    def act(*given: Any) -> mind.Act | None:
        found = _act(*given)
        return None if isinstance(found, mind.Retry) else found

    return mock.patch.object(mind, "_act", act)


def _eager(_: random.Random) -> Any:
    """Prove a challenge at once."""
    return mock.patch.object(
        windows, "terms_of", lambda miner, window: replace(_terms_of(miner, window), challenge_confidence=0)
    )


def _patient(_: random.Random) -> Any:
    """Wait for a silent prover for ever."""
    return mock.patch.multiple(wdpost_loans, is_silent=_never, is_overdue=_never)


def _loyal(_: random.Random) -> Any:
    """Leave a job to a prover that is heard of, however long it takes."""
    return mock.patch.object(wdpost_loans, "is_overdue", _never)


def _never(*_: Any) -> bool:
    return False


def _unwithdrawn(_: random.Random) -> Any:
    """Let messages go on that must not be executed any more."""
    return mock.patch.object(orders, "withdraw")


def _stale_lease(_: random.Random) -> Any:
    """Accept an old token: whoever has ever had a lease may write."""

    def renewed(row: leases.Lease | None, _token: int, now: float) -> leases.Lease | None:
        return _renewed(row, row.token, now) if row is not None else None

    return mock.patch.object(leases, "renewed", renewed)


def _no_token(_: random.Random) -> Any:
    """Write without a look at the token."""
    return mock.patch.object(leases, "renew", return_value=True)


def _trusting(_: random.Random) -> Any:
    """Verify no proof."""

    async def flaw(*_: Any) -> str:
        return ""

    return mock.patch.object(wdpost.WdPoSt, "_flaw", flaw)


def _one_opinion(_: random.Random) -> Any:
    """Skip what one prover says is faulty."""
    return mock.patch.object(wdpost_turns, "wants_another_opinion", return_value=False)


PLANTS: dict[str, Bug] = {
    "any-challenge": _any_challenge,
    "eager": _eager,
    "loyal": _loyal,
    "no-retry": _no_retry,
    "no-token": _no_token,
    "one-opinion": _one_opinion,
    "patient": _patient,
    "stale-lease": _stale_lease,
    "trusting": _trusting,
    "unwithdrawn": _unwithdrawn,
}


@contextlib.contextmanager
def planted(plant: str, dice: random.Random) -> Iterator[None]:
    """Plant a bug while the block runs; none if it has no name."""
    with PLANTS[plant](dice) if plant else contextlib.nullcontext():
        yield
