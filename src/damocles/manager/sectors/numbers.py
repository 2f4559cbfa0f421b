"""Numbers of new sectors: each one is given out once, in rising order, whatever becomes of the sector."""

from collections.abc import Container

from sqlalchemy import Connection, bindparam, insert, select, update

from damocles.manager.db import tables

_SELECT_LAST = select(tables.numbers.c.last_number).where(tables.numbers.c.miner == bindparam("of_miner"))
_INSERT_LAST = insert(tables.numbers)
_UPDATE_LAST = update(tables.numbers).where(tables.numbers.c.miner == bindparam("of_miner"))


def has_left(tx: Connection, miner: int, *, above: int, most: int | None) -> bool:
    """Return whether a miner has a number left, as far as is known without the chain."""
    return most is None or _lowest(_last(tx, miner), above) <= most


def take(tx: Connection, miner: int, *, above: int, most: int | None, taken: Container[int]) -> int | None:
    """Take a miner's next number, above one and up to `most`, which is not among those `taken`; `None` if there is none."""
    last = _last(tx, miner)
    number = _lowest(last, above)
    while number in taken:
        number += 1
    if most is not None and number > most:
        return None
    _note(tx, miner, last, number)
    return number


def pass_over(tx: Connection, miner: int, number: int) -> None:
    """Let no number be given out that is not above this one, which a sector has that came otherwise."""
    last = _last(tx, miner)
    if last is None or last < number:
        _note(tx, miner, last, number)


def _note(tx: Connection, miner: int, last: int | None, number: int) -> None:
    if last is None:
        tx.execute(_INSERT_LAST, {"miner": miner, "last_number": number})
    else:
        tx.execute(_UPDATE_LAST, {"of_miner": miner, "last_number": number})


def _last(tx: Connection, miner: int) -> int | None:
    return tx.execute(_SELECT_LAST, {"of_miner": miner}).scalar()


def _lowest(last: int | None, above: int) -> int:
    return max(last or 0, above) + 1
