"""Which miners can be sealed for, and what is in the way of the others.

A miner is fit if somebody with a role in it has a key in the nodes' wallets, and money. One that is not keeps its place: what it
has waits, it gets no new sectors meanwhile, and it is looked at again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import structlog

from damocles.chain.addresses import Address
from damocles.lotus.node import Node
from damocles.lotus.view import View
from damocles.manager.chain.accounts import Accounts
from damocles.manager.chain.submissions import Kind
from damocles.manager.chain.terms import Miner

log = structlog.get_logger(__name__)


class Fitness:
    """What was last seen of miners; `problems` are lines by miner, of those that are not fit.

    `missing` are miners of the configuration that the chain does not have, with what the node says: they stay so until the
    configuration is read again.
    """

    def __init__(self, accounts: Accounts, missing: Mapping[int, str] | None = None) -> None:
        self._accounts = accounts
        self.problems: dict[int, Sequence[str]] = {number: [text] for number, text in (missing or {}).items()}
        self._reported: dict[int, Sequence[str]] = {}

    async def look(self, view: View, nodes: Sequence[Node], miners: Iterable[Miner]) -> None:
        """Look at miners, whose roles are known.

        Raises:
            errors.NodeError: A node gives no answer; what was seen before stays.
        """
        for miner in miners:
            lines = await self._lines(view, nodes, miner)
            self.problems.pop(miner.id, None)
            if lines:
                self.problems[miner.id] = lines

    def replace(self, problems: Mapping[int, Sequence[str]], *, of: Collection[int], gone: Collection[int]) -> None:
        """Take what was seen `of` some miners elsewhere, and forget those that are no miners of the manager any more."""
        kept = {number: lines for number, lines in self.problems.items() if number not in {*of, *gone}}
        self.problems = {**kept, **problems}
        self._reported = {number: lines for number, lines in self._reported.items() if number not in gone}
        self.report()

    def report(self) -> None:
        """Log what has changed since the last report."""
        for number, lines in self.problems.items():
            if self._reported.get(number) != lines:
                log.error("a miner is not sealed for", miner=f"f0{number}", problem="; ".join(lines))
        for number in self._reported.keys() - self.problems.keys():
            log.info("a miner is sealed for again", miner=f"f0{number}")
        self._reported = dict(self.problems)

    def alerts(self) -> dict[str, str]:
        """Return what needs a person, by miner."""
        return {f"miner {Address.of_id(number)}": "; ".join(lines) for number, lines in self.problems.items()}

    async def _lines(self, view: View, nodes: Sequence[Node], miner: Miner) -> Sequence[str]:
        """Return why messages of a miner could not be signed, or not be paid."""
        if strangers := self._accounts.strangers(miner):
            return [
                f"{account} is neither owner, worker nor a control address of {miner.address}: correct Sender or Senders, or"
                " make it one (`damocles-manager util sealer actor control`)"
                for account in strangers
            ]
        lines = []
        for kind in (Kind.PRE_COMMIT, Kind.PROOF):
            senders = self._accounts.known(miner, kind)
            able = [sender for sender in senders if await _can_sign(nodes, sender)]
            self._accounts.without_key -= set(able)
            self._accounts.without_key |= set(senders) - set(able)
            if not able:
                named = ", ".join(map(str, senders)) or "nobody"
                lines.append(
                    f"no wallet has a key that may send for {miner.address} ({named}): import one with `lotus wallet import`"
                )
            elif not any([await view.node.balance(sender) for sender in able]):
                lines.append(
                    f"{', '.join(map(str, able))} of {miner.address} has no FIL and cannot pay for messages: send it some"
                )
        return list(dict.fromkeys(lines))


async def _can_sign(nodes: Sequence[Node], sender: Address) -> bool:
    return all([await node.has_key(sender) for node in nodes])
