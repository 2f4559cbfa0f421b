"""When sectors end, and by when what is on its way has to be executed; all in epochs. Pure.

Bounds are those of the actors v18 and v19, as their refusals give them.
"""

from collections.abc import Iterable

DAY_EPOCHS = 2880
TICKET_LOOKBACK = 900  # finality: no reorganisation takes a ticket away
TICKET_MAX_AGE = TICKET_LOOKBACK + DAY_EPOCHS
NI_TICKET_MAX_AGE = 180 * DAY_EPOCHS  # of a sector without a pre-commit
LEAST = 180 * DAY_EPOCHS  # from the proof on
MOST = 1278 * DAY_EPOCHS  # from the pre-commit on

_MARGIN = DAY_EPOCHS  # a pre-commit may wait before it lands


def prove_by(pre_commit_epoch: int, challenge_delay: int) -> int:
    """Return the last epoch for the proof of a pre-commit; then its deposit is burnt."""
    return pre_commit_epoch + 30 * DAY_EPOCHS + challenge_delay


def expiration(head: int, latest_proof: int, *, lifetime_days: int, terms: Iterable[tuple[int, int]] = ()) -> int:
    """Return when a sector ends whose message is sent now; 0 days are as many as there may be.

    `latest_proof` is the last epoch at which it may be proven. `terms` are the least and the most of epochs that its
    allocations want; they go before the days.
    """
    wanted = head + (lifetime_days * DAY_EPOCHS or MOST) - 2 * DAY_EPOCHS
    least = latest_proof + LEAST + _MARGIN
    most = head + MOST
    for shortest, longest in terms:
        least = max(least, latest_proof + shortest + _MARGIN)
        most = min(most, head + longest)
    return min(max(wanted, least), most)
