"""Messages that wait for a block: which are taken, which replace others, which are the best."""

from collections.abc import Iterable

from damocles.chain import tuples
from damocles.chain.addresses import TESTNET, Address
from damocles.chain.messages import SignedMessage
from damocles.devnode import rules
from damocles.devnode.state import State


class NotTaken(Exception):
    """The pool does not take a message; the text is the node's."""


class Pool:
    """Messages by sender and nonce. A gap in nonces is taken and waits."""

    def __init__(self) -> None:
        self._of: dict[Address, dict[int, SignedMessage]] = {}
        self._delays: dict[int, int] = {}
        self._from: dict[tuple[Address, int], int] = {}  # the heights before which messages are in no block

    def delay(self, method: int, epochs: int) -> None:
        """Let messages to a method that come from now on wait, each for some epochs."""
        self._delays[method] = epochs

    def check(self, signed: SignedMessage, state: State) -> None:
        """Refuse a message that cannot be taken; its signature is looked at elsewhere.

        Raises:
            NotTaken: See there.
        """
        message, cid = signed.message, signed.cid
        least = rules.storage_gas(len(tuples.encode(signed)))
        verify = "verify msg failed: message will not be included in a block: "
        if message.gas_limit < least:
            raise NotTaken(
                f"{verify}'GasLimit' field cannot be less than the cost of storing a message on chain"
                f" {message.gas_limit} < {least}"
            )
        if message.gas_limit > rules.BLOCK_GAS_LIMIT:
            raise NotTaken(f"{verify}'GasLimit' field cannot be greater than a block's gas limit")
        if message.gas_premium < 0 or message.gas_premium > message.gas_fee_cap:
            raise NotTaken(f"{verify}'GasFeeCap' less than 'GasPremium'")
        if message.gas_fee_cap < rules.LEAST_BASE_FEE:
            raise NotTaken("gas fee cap too low")
        number = state.id_of(message.sender)
        if number is None or number not in state.accounts:
            raise NotTaken("failed to check message balance: actor not found")
        account = state.accounts[number]
        if message.nonce < account.nonce:
            raise NotTaken(f"minimum expected nonce is {account.nonce}, got {message.nonce}: message nonce too low")
        other = self.waiting(message.sender, message.nonce)
        if other is not None:
            if other.cid == cid:
                raise NotTaken(
                    f"failed to add locked: message from {message.sender.text(TESTNET)} with nonce {message.nonce} already"
                    " in mpool: message with nonce already exists"
                )
            num, den = rules.REPLACE_BY_FEE
            needed = int(other.message.gas_premium) * num // den + 1
            if message.gas_premium < needed:
                raise NotTaken(
                    f"failed to add locked: message from {message.sender.text(TESTNET)} with nonce {message.nonce} already"
                    f" in mpool, increase GasPremium to {needed} from {int(message.gas_premium)} to trigger replace by fee:"
                    f" replace by fee has too low GasPremium"
                )
        waiting = [one.message for nonce, one in self._of.get(message.sender, {}).items() if nonce != message.nonce]
        needs = sum(one.most_burnt + one.value for one in (*waiting, message))
        if account.balance < needs:
            raise NotTaken(
                f"failed to check balance: not enough funds including pending messages (required: {needs}, balance:"
                f" {account.balance}): not enough funds to execute transaction"
            )

    def put(self, signed: SignedMessage, height: int = 0) -> None:
        """Let a message wait, in place of another one with its nonce; one that comes when the head has a height may be held."""
        sender, nonce = signed.message.sender, signed.message.nonce
        self._of.setdefault(sender, {})[nonce] = signed
        if epochs := self._delays.get(signed.message.method, 0):
            self._from.setdefault((sender, nonce), height + epochs + 1)

    def remove(self, messages: Iterable[SignedMessage]) -> None:
        """Let messages wait no more, nor others with their nonces."""
        for signed in messages:
            waiting = self._of.get(signed.message.sender, {})
            waiting.pop(signed.message.nonce, None)
            self._from.pop((signed.message.sender, signed.message.nonce), None)
            if not waiting:
                self._of.pop(signed.message.sender, None)

    def prune(self, state: State) -> None:
        """Let messages wait no more whose nonces are over."""
        for sender, waiting in list(self._of.items()):
            account = state.accounts.get(state.id_of(sender) or -1)
            if account is not None and min(waiting) < account.nonce:
                self.remove(signed for nonce, signed in list(waiting.items()) if nonce < account.nonce)

    def all(self) -> list[SignedMessage]:
        """Return those that wait, by sender and nonce."""
        return [waiting[nonce] for waiting in list(self._of.values()) for nonce in sorted(waiting)]

    def of(self, sender: Address) -> list[SignedMessage]:
        """Return those of a sender, by nonce."""
        waiting = self._of.get(sender, {})
        return [waiting[nonce] for nonce in sorted(waiting)]

    def waiting(self, sender: Address, nonce: int) -> SignedMessage | None:
        """Return the message of a sender that waits with a nonce."""
        return self._of.get(sender, {}).get(nonce)

    def next_nonce(self, sender: Address, on_chain: int) -> int:
        """Return the nonce after those on the chain and of messages that wait without a gap."""
        waiting = self._of.get(sender, {})
        while on_chain in waiting:
            on_chain += 1
        return on_chain

    def best(self, state: State, base_fee: int, limit: int | None = None, height: int = 0) -> list[SignedMessage]:
        """Return messages for a block of a height: of each sender those that follow each other, can pay, and are not held.

        The dearest senders come first.
        """
        rows: list[list[SignedMessage]] = []
        for sender, waiting in list(self._of.items()):
            account = state.accounts.get(state.id_of(sender) or -1)
            if account is None:
                continue
            nonce, balance, row = account.nonce, account.balance, []
            while (signed := waiting.get(nonce)) is not None:
                message = signed.message
                balance -= message.most_burnt + message.value
                if message.gas_fee_cap < base_fee or balance < 0 or height < self._from.get((sender, nonce), height):
                    break
                row.append(signed)
                nonce += 1
            rows.append(row)
        chosen: list[SignedMessage] = []
        gas = rules.BLOCK_GAS_LIMIT
        for row in sorted((row for row in rows if row), key=lambda row: -int(row[0].message.gas_premium)):
            for signed in row:
                gas -= signed.message.gas_limit
                if gas < 0 or (limit is not None and len(chosen) >= limit):
                    return chosen
                chosen.append(signed)
        return chosen
