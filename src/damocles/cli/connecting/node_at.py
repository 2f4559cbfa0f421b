"""Find the chain node that a command reads from, and ask it."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import anyio.to_thread
from cyclopts import Parameter

from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.lotus import errors, node, nodes
from damocles.lotus.places import BadTokenFile, Place
from damocles.lotus.view import View
from damocles.rpc import tls

T = TypeVar("T")

_NodeOption = Annotated[
    str | None,
    options.Flag(name="--node", env_var="DAMOCLES_NODE", help="The chain node: URL, multiaddr or host:port."),
]
_TokenFile = Annotated[
    Path | None,
    options.Flag(
        name="--node-token-file",
        env_var="DAMOCLES_NODE_TOKEN_FILE",
        help="File with a token of the node; reading needs none.",
    ),
]
_CaFile = Annotated[
    Path | None,
    options.Flag(name="--node-ca-file", help="PEM file with the authority of the node's certificate."),
]


@Parameter(name="*", group=options.CONNECTION)
@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The node's address; by default the first node of the manager's configuration that answers."""

    node: _NodeOption = None
    node_token_file: _TokenFile = None
    node_ca_file: _CaFile = None

    def ask(self, question: Callable[[View], Awaitable[T]]) -> T:
        """Return the answer to a question about the chain at its present head.

        Raises:
            exits.Failed: With the exit code of what went wrong.
        """
        try:
            return anyio.run(partial(self._ask, question))
        except BadTokenFile as error:
            raise exits.WrongUsage(str(error)) from error
        except (errors.Away, errors.NoNode) as error:
            raise exits.NodeUnreachable(f"chain node: {error}") from error
        except (errors.BadToken, errors.Forbidden) as error:
            raise exits.NotAllowed(f"chain node: {error}") from error
        except errors.NodeError as error:
            raise exits.Failed(f"chain node: {error}") from error

    def configuration(self) -> Path | None:
        """Return the configuration that names the node, `None` if an option does."""
        return _configuration() if self.node is None else None

    @property
    def is_known(self) -> bool:
        """Whether there is a node to ask."""
        return self.node is not None or _configuration().exists()

    async def _ask(self, question: Callable[[View], Awaitable[T]]) -> T:
        *others, last = await anyio.to_thread.run_sync(self._places)
        for place in others:
            try:
                return await _asked(place, question)
            except errors.Away:
                continue
        return await _asked(last, question)

    def _places(self) -> list[Place]:
        if self.node is not None:
            return [_place("--node", self.node, self.node_token_file, self.node_ca_file)]
        file = _configuration()
        if not file.exists():
            raise exits.WrongUsage(
                f"no chain node is named: say --node, like --node http://127.0.0.1:1234, or set DAMOCLES_NODE; {file}, which"
                " could name one, is not there"
            )
        from damocles.manager.config import load

        try:
            found = load.load(file).chain.nodes
        except load.ConfigError as error:
            raise exits.Failed(str(error)) from error
        # To read takes no token: those of the manager stay with it.
        return [_place(f"{file}: API", one.api, None, one.ca_file) for one in found]


async def _asked(place: Place, question: Callable[[View], Awaitable[T]]) -> T:
    async with node.connect(place) as member:
        health = await nodes.Nodes([member]).health_of(member)
        if health.head is None or health.problem is not None:
            raise errors.Away(health.problem or "")
        return await question(View(member, health.head))


def _configuration() -> Path:
    """Return where the manager of this machine has its configuration."""
    home = os.environ.get("DAMOCLES_PATH")
    return manager_at.configuration(Path(home) if home else manager_at.DEFAULT_HOME)


def _place(what: str, where: str, token_file: Path | None, ca_file: Path | None) -> Place:
    try:
        trust = tls.client_context(ca_file.expanduser()) if ca_file is not None else None
        return Place.of(where, token_file=token_file, trust=trust)
    except (ValueError, tls.Unusable) as error:
        raise exits.WrongUsage(f"{what}: {error}") from error


USUAL = At()
