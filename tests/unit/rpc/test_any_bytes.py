"""Whatever arrives is answered: properties of both dialects."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.rpc import core, dialects
from damocles.wire import codec, seal
from damocles.wire.sectors import SectorID

T = TypeVar("T")

NAMES = ["X.Nothing", "X.Sector", "X.Commit", "X.Cid", "X.Any"]


def services() -> list[core.Service]:
    """One service in each dialect, with the kinds of parameters the wire has."""

    async def nothing() -> str:
        return "ok"

    async def sector(sector: SectorID, reset: bool = False) -> SectorID:
        return sector

    async def commit(info: seal.PreCommit) -> seal.PreCommit:
        return info

    async def cid(piece: codec.CID | None) -> codec.CID | None:
        return piece

    async def anything(value: Any) -> Any:
        return value

    made = []
    for dialect in (dialects.MANAGER, dialects.WORKER):
        service = core.Service(dialect)
        handlers: list[Callable[..., Any]] = [nothing, sector, commit, cid, anything]
        for name, handler in zip(NAMES, handlers, strict=True):
            service.add(name, handler)
        made.append(service)
    return made


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("the service waited for something")


def check(service: core.Service, body: bytes, *, asked: bool) -> None:
    """Check what holds for every reply; `asked`: something in the body wants an answer."""
    reply = run(service.answer(body, core.Call()))

    assert reply.status in {200, service.dialect.fault_status}
    if asked or reply.status != 200:
        assert reply.body
    if not reply.body:
        return
    assert reply.body.endswith(b"}\n") or reply.body.endswith(b"]\n")
    answers = msgspec.json.decode(reply.body)
    for answer in answers if isinstance(answers, list) else [answers]:
        assert "2.0" == answer["jsonrpc"]
        assert {"jsonrpc", "id"} < answer.keys()
        assert ("result" in answer) != ("error" in answer)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
sectors = st.fixed_dictionaries({"Miner": st.integers() | scalars, "Number": st.integers(0, 2**64)})
commits = st.fixed_dictionaries(
    {
        "CommR": st.lists(st.integers(-1, 256), min_size=30, max_size=33),
        "CommD": st.just(list(range(32))) | scalars,
        "Ticket": st.fixed_dictionaries({"Ticket": st.just("AAAA") | scalars, "Epoch": scalars}),
    }
)
values = st.recursive(
    scalars | sectors | commits | st.fixed_dictionaries({"/": scalars}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
requests = st.fixed_dictionaries(
    {"method": st.sampled_from(NAMES) | scalars},
    optional={
        "jsonrpc": st.just("2.0") | scalars,
        "id": scalars,
        "params": st.lists(values, max_size=3) | values,
        "meta": values,
        "Extra": values,
    },
)

bodies = st.one_of(
    st.binary(max_size=200),
    values.map(msgspec.json.encode),
    requests.map(msgspec.json.encode),
    st.lists(requests | values, max_size=4).map(msgspec.json.encode),
)


@pytest.mark.parametrize("service", services(), ids=["manager", "worker"])
@given(body=bodies)
def test_any_bytes_have_an_answer(service: core.Service, body: bytes) -> None:
    """Any bytes have a reply; one that is not HTTP 200 has a body; a body is JSON-RPC."""
    check(service, body, asked=False)


@pytest.mark.parametrize("service", services(), ids=["manager", "worker"])
@given(request=requests, number=st.integers(0, 2**53) | st.text(max_size=8), cut=st.integers(0, 60), noise=st.binary())
def test_calls_are_answered_even_when_damaged(
    service: core.Service, request: dict[str, Any], number: int | str, cut: int, noise: bytes
) -> None:
    """A call with an id is answered; so is one whose bytes are cut or overwritten."""
    body = msgspec.json.encode(request | {"id": number})
    check(service, body, asked=True)
    check(service, body[:cut] + noise + body[cut + len(noise) :], asked=False)
