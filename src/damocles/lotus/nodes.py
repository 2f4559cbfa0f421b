"""Several nodes, of which one is asked at a time.

    async with nodes.connect([Place.of("10.0.0.1"), Place.of("10.0.0.2")]) as lotus:
        async with lotus.view() as view: ...
        async for change in heads.follow(lotus.pick): ...

The one that is asked stays until it is away or out of step; then it is the first of the list that is well. Nodes of
another network than the first one seen, or than the one that is wanted, are never asked.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

import anyio
import structlog

from damocles.lotus import errors, node
from damocles.lotus.answers import NetworkParams, TipSet
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.lotus.view import View

log = structlog.get_logger(__name__)

# How old a head may be. Null rounds make it older than an epoch, a few of them in a row are ordinary.
BEHIND_EPOCHS = 10
LOOK_SECONDS = 10.0


class NoneWell(errors.Away):
    """No node can be asked; the message has the error of each."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__(f"no chain node can be asked now: {'; '.join(problems)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a node was when it was looked at: its head, how old that is, and what is wrong if something is."""

    url: str
    head: TipSet | None = None
    behind_epochs: float = 0.0
    problem: str | None = None


class Nodes:
    """Nodes of one network; made by `connect`. `healths` is what was last seen of each, by URL."""

    def __init__(
        self,
        members: Sequence[Node],
        *,
        network: str | None = None,
        behind_epochs: float = BEHIND_EPOCHS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.healths: dict[str, Health] = {}
        self.members = members
        self._network = network
        self._genesis: int | None = None
        self._params: dict[str, NetworkParams] = {}
        self._behind_epochs = behind_epochs
        self._clock = clock
        self._picked: Node | None = None
        self._picking = anyio.Lock()

    async def pick(self) -> Node:
        """Return the node to ask, after a look at it.

        Raises:
            NoneWell: There is none.
        """
        async with self._picking:
            if self._picked is not None and (await self.look(self._picked)).problem is None:
                return self._picked
            was, self._picked = self._picked, None
            for member in self.members:
                if member is not was and (await self.look(member)).problem is None:
                    log.info("asking another chain node", node=member.url, was=was.url if was else None)
                    self._picked = member
                    return member
            raise NoneWell(health.problem or "" for health in self.healths.values())

    @contextlib.asynccontextmanager
    async def view(self) -> AsyncIterator[View]:
        """Yield the chain at the present head of one node. If the node goes away the block is to be run again.

        Raises:
            errors.Away: The node went away, or none is there.
        """
        picked = await self.pick()
        head = self.healths[picked.url].head
        assert head is not None
        yield View(picked, head)

    async def look(self, member: Node) -> Health:
        """Look at a node and remember what was seen."""
        try:
            with anyio.fail_after(LOOK_SECONDS):
                health = await self.health_of(member)
        except TimeoutError:
            health = Health(url=member.url, problem=f"{member.url} did not answer within {LOOK_SECONDS:g} s")
        except errors.NodeError as exc:
            health = Health(url=member.url, problem=str(exc))
        before = self.healths.get(member.url)
        if health.head is None:
            self._params.pop(member.url, None)  # when it comes back it may be another one
        if health.problem is not None and (before is None or before.problem is None):
            log.warning("a chain node cannot be asked", node=member.url, problem=health.problem)
        self.healths[member.url] = health
        return health

    async def health_of(self, member: Node) -> Health:
        """Return how a node is now; `look` also remembers and logs it.

        Raises:
            errors.NodeError: It does not answer.
        """
        params = self._params.get(member.url)
        if params is None:
            params = await member.network_params()
            if other := self._is_of_another_network(member, params):
                return Health(url=member.url, problem=other)
            self._params[member.url] = params
        head = await member.head()
        age_seconds = self._clock() - head.timestamp
        behind = age_seconds / max(params.block_delay_seconds, 1)
        problem = None
        if behind > self._behind_epochs:
            problem = f"{member.url} is out of step: its head {head.height} is {behind:.0f} epochs old; is it syncing?"
        elif behind < -1:
            problem = f"{member.url} has a head {-age_seconds:.0f} s in the future: its clock or ours is wrong"
        return Health(url=member.url, head=head, behind_epochs=behind, problem=problem)

    def _is_of_another_network(self, member: Node, params: NetworkParams) -> str | None:
        if self._network is None:
            self._network = params.name
        if params.name != self._network:
            return f"{member.url} is on the network {params.name}, not on {self._network}"
        if self._genesis is None:
            self._genesis = params.genesis_timestamp
        if params.genesis_timestamp != self._genesis:
            return f"{member.url} is on another network that is called {params.name} as well (its genesis differs)"
        return None


@contextlib.asynccontextmanager
async def connect(
    places: Iterable[Place],
    *,
    network: str | None = None,
    behind_epochs: float = BEHIND_EPOCHS,
    pauses_seconds: Sequence[float] = node.PAUSES_SECONDS,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Nodes]:
    """Yield nodes in the order in which they are preferred; the first `pick` connects."""
    async with contextlib.AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(node.connect(place, pauses_seconds=pauses_seconds)) for place in places
        ]
        yield Nodes(members, network=network, behind_epochs=behind_epochs, clock=clock)
