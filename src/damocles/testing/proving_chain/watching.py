"""What is looked at while a seed runs: challenges as they come and go, what is proved, and what is pushed."""

from collections.abc import Callable, Iterable

import anyio

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.messages import SignedMessage
from damocles.chain.sealing import SubmitWindowedPoSt
from damocles.devnode.actors.activation import entropy_of
from damocles.devnode.actors.posts import COMMIT, WINDOW
from damocles.devnode.node import Node as Devnode
from damocles.devnode.tipsets import TipSet
from damocles.manager.plans.wdpost_jobs import seed_of
from damocles.rpc import core
from damocles.testing.proving_chain import options, processes
from damocles.testing.proving_chain.proofs import fake_proof
from damocles.testing.sealing_chain.direct import BLOCK_SECONDS, DirectNode
from damocles.wire.codec import CID

CONFIDENCE = (
    options.RULES.challenge_lookback // 2
)  # epochs on top of a challenge, unless the configuration says otherwise
_GRACE_SECONDS = 4 * BLOCK_SECONDS  # from a reorganisation to the turn that knows of it, with a slow node


class Watch:
    """What was seen so far; `violations` are what must not be."""

    def __init__(self, devnode: Devnode, tell: Callable[[str], None]) -> None:
        self.violations: list[str] = []
        self.forked: set[tuple[int, int]] = (
            set()
        )  # miner and deadline of windows of which the chain took the challenge back
        self._devnode = devnode
        self._tell = tell
        self._highest = 0
        self._challenges: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # the challenge, and what messages name
        self._abandoned: dict[tuple[int, bytes], float] = {}  # when, by miner and challenge
        self._proofs: dict[bytes, tuple[int, bytes]] = {}  # miner and challenge
        self._pushed: set[CID] = set()

    def seed(self, miner: int, deadline: int, head: TipSet) -> bytes:
        """Return the challenge of a deadline on the chain that ends with a tipset."""
        draws = self._devnode.chain.executor.draws(head)
        return bytes(seed_of(draws.beacon(WINDOW, options.challenge(deadline), entropy_of(miner))))

    def look(self, miners: Iterable[int], highest: int) -> None:
        """Look at the challenges of the chain as it is."""
        self._highest = highest
        head = self._devnode.chain.head
        for key in [(miner, deadline) for miner in miners for deadline in options.DEADLINES]:
            miner, deadline = key
            before = self._challenges.pop(key, None)
            after = None
            if head.height > options.challenge(deadline):
                tickets = self._devnode.chain.executor.draws(head).tickets(COMMIT, options.challenge(deadline), b"")
                after = self._challenges[key] = self.seed(miner, deadline, head), tickets
                self._abandoned.pop((miner, after[0]), None)
            if before is not None and before != after:
                self.forked.add(key)
                if after is None or after[0] != before[0]:
                    self._abandoned.setdefault((miner, before[0]), anyio.current_time())

    def proves(self, miner: int, seed: bytes, replicas: Iterable[tuple[int, bytes]]) -> None:
        """Take note of what a prover has been given."""
        self._proofs[fake_proof(miner, seed, list(replicas))] = miner, bytes(seed)
        for deadline in options.DEADLINES:
            known = self._challenges.get((miner, deadline))
            if known is not None and known[0] == seed and self._highest < options.challenge(deadline) + CONFIDENCE:
                self.violations.append(
                    f"the challenge of f0{miner}'s deadline {deadline} is proved at {self._highest}, without confidence"
                )

    def pushes(self, signed: SignedMessage) -> None:
        """Take note of a message that is pushed."""
        message = signed.message
        if message.method != methods.SUBMIT_WINDOW_POST.number or signed.cid in self._pushed:
            return
        self._pushed.add(signed.cid)
        params: SubmitWindowedPoSt = methods.SUBMIT_WINDOW_POST.read_params(message.params)
        miner, seed = self._proofs.get(bytes(params.proofs[0].proof), (0, b""))
        if Address.of_id(miner) != message.to:
            return  # no proof at all, which is seen where it lands
        parts = [one.index for one in params.partitions]
        self._tell(f"f0{miner}, deadline {params.deadline}, partitions {parts}: a message with nonce {message.nonce}")
        since = self._abandoned.get((miner, seed))
        if since is not None and anyio.current_time() - since > _GRACE_SECONDS:
            self.violations.append(
                f"a proof for a challenge that was abandoned {anyio.current_time() - since:.0f} s ago is sent for f0{miner}"
            )


class Node(DirectNode):
    """A client of the devnode, whose messages are looked at."""

    def __init__(self, devnode: Devnode, watch: Watch) -> None:
        super().__init__(devnode)
        self._watch = watch

    async def answer(self, body: bytes) -> core.Reply:
        """Return what the devnode answers; it goes on while a manager is frozen that has asked."""
        return await processes.outside(super().answer(body))

    async def push(self, message: SignedMessage) -> CID:
        """Push a message."""
        self._watch.pushes(message)
        return await super().push(message)
