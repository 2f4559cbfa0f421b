"""Find the chain node that a command reads from, and ask it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
from cyclopts import Parameter

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
        help="File with a token of the node; to read takes none.",
    ),
]
_CaFile = Annotated[
    Path | None,
    options.Flag(name="--node-ca-file", help="PEM file with the authority of the node's certificate."),
]


@Parameter(name="*", group=options.CONNECTION)
@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where the node is."""

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

    async def _ask(self, question: Callable[[View], Awaitable[T]]) -> T:
        async with node.connect(self._place()) as member:
            health = await nodes.Nodes([member]).health_of(member)
            if health.head is None or health.problem is not None:
                raise errors.Away(health.problem or "")
            return await question(View(member, health.head))

    def _place(self) -> Place:
        if self.node is None:
            raise exits.WrongUsage(
                "no chain node is named: say --node, like --node http://127.0.0.1:1234, or set DAMOCLES_NODE"
            )
        try:
            trust = tls.client_context(self.node_ca_file.expanduser()) if self.node_ca_file is not None else None
            return Place.of(self.node, token_file=self.node_token_file, trust=trust)
        except (ValueError, tls.Unusable) as error:
            raise exits.WrongUsage(f"--node: {error}") from error


USUAL = At()
