"""The types of values in the manager's configuration, and the errors about impossible ones. Durations become seconds."""

from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import BeforeValidator, Field, StrictInt
from pydantic.alias_generators import to_pascal

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.rpc import address
from damocles.text import tables, units

_MOST_NUMBER = 2**63 - 1


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {what} in quotes")  # noqa: TRY004, as every refusal of a value
    return value


def _address(value: object) -> Address:
    return Address.parse(_text(value, "an address, like f1… or f01000,"))


def _amount(value: object) -> Amount | None:
    """Read an amount; the empty text is how the original says that there is none."""
    text = _text(value, 'an amount, like "5 nanoFIL",')
    if not text.strip():
        return None
    amount = Amount.parse(text)
    if amount < 0:
        raise ValueError(f"{text!r} is negative")
    return amount


def _duration(value: object) -> float:
    seconds = units.parse_duration(_text(value, 'a duration, like "1h30m",'))
    if seconds > units.LONGEST_SECONDS:
        raise ValueError('expected at most "100years"')
    return seconds


def _node(value: object) -> str:
    return address.node_url(_text(value, 'the address of a node, like "/ip4/127.0.0.1/tcp/1234",'))


def _listen(value: object) -> str:
    return str(address.host_port(_text(value, 'an address to listen on, like "127.0.0.1:1789",'), address.MANAGER_PORT))


def _path(value: object) -> Path:
    text = _text(value, "a path")
    if not text:
        raise ValueError("expected a path that is not empty")
    return Path(text).expanduser()


FIL = Annotated[Amount | None, BeforeValidator(_amount), tables.Kind("amount", '"7 nanoFIL"', lambda fil: f'"{fil}"')]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    tables.Kind("duration", '"30m"', lambda seconds: f'"{units.human_duration(seconds)}"'),
]
Account = Annotated[Address, BeforeValidator(_address), tables.Kind("address", '"f01001"')]
File = Annotated[Path, BeforeValidator(_path)]
Count = Annotated[StrictInt, Field(ge=0, le=_MOST_NUMBER), tables.Kind("number", "20")]

Listen = Annotated[str, BeforeValidator(_listen), tables.Kind("HOST:PORT", '"0.0.0.0:1789"')]
NodeAddress = Annotated[str, BeforeValidator(_node), tables.Kind("multiaddr or URL", '"/ip4/127.0.0.1/tcp/1234"')]


class Table(pydantic.BaseModel):
    """A table; its keys are the names of its fields in the original's spelling.

    The text under each key is what the reference says about it; it begins with `Ours:` where the original has no such key.
    """

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_pascal,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        validate_default=False,
    )
