"""What the address of a page may say behind its `?`. What means nothing there is refused: left out of account, it would show everything."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_DIGITS = 17  # of a number that somebody else wrote
_SHOWN = 100  # characters of what somebody else wrote


class Unfit(ValueError):
    """An address that a page cannot be made for; the message names the parameter and what it may be."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a parameter may be: in words, and as a test. Empty, it is as if it were not there; `many` may be there often."""

    says: str
    fits: Callable[[str], bool]
    many: bool = False


TEXT = Kind("a text", lambda _: True)
TEXTS = Kind("a text", lambda _: True, many=True)


def one_of(values: Iterable[object]) -> Kind:
    """Return the kind that is one of some values."""
    known = [str(value) for value in values]
    return Kind(_either(known), known.__contains__)


def number(least: int) -> Kind:
    """Return the kind that is a whole number."""
    return Kind(
        f"a whole number from {least} on",
        lambda text: text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) >= least,
    )


def check(pairs: Iterable[tuple[str, str]], known: Mapping[str, Kind]) -> None:
    """Refuse parameters that a page does not know, that are there twice, or that cannot be what they are.

    Raises:
        Unfit: One of them is.
    """
    given = list(pairs)
    counts = Counter(name for name, _ in given)
    for name, value in given:
        kind = known.get(name)
        if kind is None:
            may = f"what may stand here is {', '.join(known)}" if known else "none may stand here"
            raise Unfit(f"{_cut(name)}: this page has no such parameter; {may}")
        if counts[name] > 1 and not kind.many:
            raise Unfit(f"{name} is there {counts[name]} times: give it once")
        if value.strip() and not kind.fits(value.strip()):
            raise Unfit(f"{name}={_cut(value)}: {name} may be {kind.says}")


def _either(values: list[str]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else "".join(values)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
