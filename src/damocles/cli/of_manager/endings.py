"""What an operator does to a sector's record: `util sealer sectors remove|finalize|restore`."""

from typing import Annotated

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.of_manager import plans
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.wire.sectors import SectorID

Really = Annotated[bool, options.Flag(name="--really-do-it", help="Really do it.")]


def remove(
    sector: plans.Sector,
    number: plans.Number = None,
    /,
    *,
    really_do_it: Really = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Delete the files of a sector that is over; one that lives on the chain, or did 900 epochs ago, is refused."""
    identity = plans.sector_of(sector, number)
    return _end(methods.records.remove_sector(identity), identity, "removed", at, sure=really_do_it, as_json=json)


def finalize(
    sector: plans.Sector,
    number: plans.Number = None,
    /,
    *,
    really_do_it: Really = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Finish a sector that is on the chain, whatever its worker thinks."""
    identity = plans.sector_of(sector, number)
    return _end(methods.records.finalize_sector(identity), identity, "finished", at, sure=really_do_it, as_json=json)


def restore(
    sector: plans.Sector,
    number: plans.Number = None,
    /,
    *,
    force: Annotated[bool, options.Flag(name="--force", help="Also one that was not aborted, or has deals.")] = False,
    really_do_it: Really = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Bring a sector that was aborted back into work; it belongs to the worker that goes on with it first."""
    identity = plans.sector_of(sector, number)
    call = methods.records.restore_sector(identity, force)
    return _end(call, identity, "restored", at, sure=really_do_it, as_json=json)


def _end(call: methods.Ask[None], sector: SectorID, done: str, at: manager_at.At, *, sure: bool, as_json: bool) -> int:
    if not sure:
        raise exits.WrongUsage(f"{sector} would be {done}: say --really-do-it")
    with at.call() as found:
        found.call(call)
    exits.print_result(f"{sector} {done}", {"sector": str(sector), "done": done}, as_json=as_json)
    return exits.OK
