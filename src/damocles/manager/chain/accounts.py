"""Who may send for a miner: keys with a role in it, as the chain has them now."""

from collections.abc import Iterable, Sequence

from damocles.chain.addresses import Address, Protocol
from damocles.lotus import errors
from damocles.lotus.view import View
from damocles.manager.chain.submissions import Kind
from damocles.manager.chain.terms import WINDOW_POST, Miner

_KINDS = (*Kind, WINDOW_POST, "")  # whose accounts the configuration names; the last is what operators ask for


class Accounts:
    """Keys that may send, by miner. Roles change on the chain, so that they are asked for before each decision."""

    def __init__(self) -> None:
        self._keys: dict[Address, Address] = {}  # of an actor's id; an account never has another
        self._roles: dict[int, tuple[Address, ...]] = {}  # keys: control addresses, worker, owner
        self.without_key: set[Address] = set()  # that no wallet of ours can sign for
        self._given: dict[Address, Address] = {}  # keys of what the configuration names

    async def refresh(self, view: View, miners: Iterable[Miner]) -> dict[int, str]:
        """Ask the chain for the roles; return what it says of miners of which it does not tell them.

        Raises:
            errors.NodeError: The node gives no answer; what was known before stays.
        """
        untold = {}
        for miner in miners:
            try:
                await self._refresh(view, miner)
            except errors.Refused as error:
                untold[miner.id] = str(error)
        return untold

    async def _refresh(self, view: View, miner: Miner) -> None:
        info = await view.info(miner.address)
        roles = [*info.control_addresses, info.worker, info.owner]
        self._roles[miner.id] = tuple(dict.fromkeys([await self._key(view, role) for role in roles]))
        for kind in _KINDS:
            for given in miner.accounts(kind):
                if given not in self._given:
                    self._given[given] = await self._key(view, given)

    async def _key(self, view: View, account: Address) -> Address:
        if account.protocol is not Protocol.ID:
            return account
        if account not in self._keys:
            try:
                self._keys[account] = await view.key_of(account)
            except errors.Refused:
                return account  # an actor without a key, such as a multisig owner: it signs nothing
        return self._keys[account]

    def senders(self, miner: Miner, kind: str) -> Sequence[Address]:
        """Return the keys that may send messages of a kind, in the order in which they are to be tried."""
        return [key for key in self.known(miner, kind) if key not in self.without_key]

    def known(self, miner: Miner, kind: str) -> Sequence[Address]:
        """Return the same, with those that no wallet of ours has."""
        roles = [key for key in self._roles.get(miner.id, ()) if key.protocol is not Protocol.ID]
        wanted = [self._given.get(account, account) for account in miner.accounts(kind)]
        # Who is configured may have lost the role meanwhile: the actor would refuse the message, for gas.
        return [key for key in wanted if key in roles] if wanted else roles

    def strangers(self, miner: Miner) -> list[Address]:
        """Return the configured accounts that have no role in a miner."""
        roles = self._roles.get(miner.id, ())
        named = {account for kind in _KINDS for account in miner.accounts(kind)}
        return sorted(account for account in named if self._given.get(account, account) not in roles)
