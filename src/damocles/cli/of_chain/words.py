"""Amounts, epochs and lists of facts as the chain's commands print them."""

from dataclasses import dataclass
from decimal import Context, Decimal

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.cli.connecting import miners
from damocles.cli.terminal import tables
from damocles.cli.threads import options
from damocles.lotus.view import View
from damocles.text import units

Actor = options.TheMiner
facts = tables.print_facts

_SHOWN_DIGITS = Context(prec=4)
_UNITS = ("attoFIL", "femtoFIL", "picoFIL", "nanoFIL", "microFIL", "milliFIL", "FIL")
_SPANS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What makes times of epochs: the head and how long an epoch is."""

    epoch: int
    timestamp: int
    epoch_seconds: int

    def at(self, epoch: int) -> str:
        """Return an epoch with how far it is from the head: `1234 (in 3h5m)`, `1200 (17m ago)`."""
        seconds = (epoch - self.epoch) * self.epoch_seconds
        if not seconds:
            return f"{epoch} (now)"
        return f"{epoch} ({f'in {units.brief_duration(seconds)}' if seconds > 0 else f'{units.brief_duration(-seconds)} ago'})"

    def moment(self, epoch: int) -> str:
        """Return when an epoch begins, in UTC, like `11-28 17:03:55Z`."""
        at = self.timestamp + (epoch - self.epoch) * self.epoch_seconds
        return units.brief_moment(at, self.timestamp)

    def days(self, epoch: int) -> float:
        """Return in how many days an epoch begins."""
        return (epoch - self.epoch) * self.epoch_seconds / 86400


async def clock(view: View) -> Clock:
    """Return the clock of a view's chain."""
    params = await view.node.network_params()
    return Clock(epoch=view.epoch, timestamp=view.tipset.timestamp, epoch_seconds=max(1, params.block_delay_seconds))


def miner(given: int | None, at: miners.At) -> Address:
    """Return the miner that a command is about (see `miners.number`)."""
    return Address.of_id(miners.number(given, at))


def brief(amount: Amount) -> str:
    """Return an amount with four digits in the unit in which it is short: `1.235 FIL`, `59.6 nanoFIL`, `0 FIL`."""
    if not amount:
        return "0 FIL"
    place = min(len(_UNITS) - 1, (len(str(abs(int(amount)))) - 1) // 3)
    rounded = _SHOWN_DIGITS.plus(Decimal(int(amount)).scaleb(-3 * place))
    text = f"{rounded:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {_UNITS[place]}"


def numbers(some: Bitfield, *, full: bool = True) -> str:
    """Return a set of numbers: `1-3, 10`; `-` for none. Of many spans the first ones, unless `full`."""
    spans = repr(some)[1:-1].split(", ")
    if not full and len(spans) > _SPANS_SHOWN:
        spans = [*spans[:_SPANS_SHOWN], f"and {len(spans) - _SPANS_SHOWN} more spans"]
    return ", ".join(spans) if some else "-"
