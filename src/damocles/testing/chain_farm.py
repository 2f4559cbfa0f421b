"""A farm on a devnode: three real processes, the devnode, a manager that seals on it, and a worker."""

import base64
import contextlib
import itertools
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from damocles.chain import methods, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO
from damocles.chain.messages import Message
from damocles.chain.ownership import CreateMiner
from damocles.devnode import beginnings
from damocles.devnode.rules import FIRST_MINER
from damocles.devnode.state import State
from damocles.devnode.store import FILE_NAME, Store
from damocles.devnode.tipsets import TipSet
from damocles.rpc import errors
from damocles.rpc.calling import sync
from damocles.testing import farm
from damocles.testing.farm import Farm, wait_until
from damocles.wire.codec import CID

CONFIDENCE = 4
WITH_POSTS = ("--challenge-delay", "3")
WITHOUT_POSTS = (*WITH_POSTS, "--without-posts")
_DEPTH = 2  # of a reorganisation
_NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A message of the chain: when it was executed, and how it ended."""

    message: Message
    cid: CID
    epoch: int
    exit_code: int


@dataclass
class ChainFarm(Farm):
    """A farm whose manager is `daemon` and whose chain is a devnode; start that first.

    `batch` is how many sectors share a message, `others` are miners that the manager has beside its own. `lifetime_days` is
    how long sectors live that are sealed now, at least 211. With `makes_blocks` the miners take part in elections, on a devnode
    whose options say that it is mined.
    """

    miner: int = FIRST_MINER
    block_delay: str = "300ms"
    batch: int = 1
    others: Sequence[int] = ()
    lifetime_days: int = 540
    makes_blocks: bool = False
    confidence: int = CONFIDENCE
    devnode_options: Sequence[str] = WITHOUT_POSTS
    devnode_port: int = field(default_factory=farm.free_port)
    devnode: "subprocess.Popen[bytes] | None" = None
    _highest: int = 0  # when tipsets were abandoned

    @property
    def miners(self) -> list[int]:
        """The miners of the manager."""
        return [self.miner, *self.others]

    @property
    def running(self) -> "list[subprocess.Popen[bytes]]":
        """The daemons that were started."""
        return [process for process in (self.worker, self.manager, self.devnode) if process is not None]

    def start_devnode(self) -> None:
        """Start the devnode, once more if it has died, and wait until it answers."""
        self.devnode = self.start(
            "devnode.log",
            {},
            *("damocles-manager", "devnode", "--home", str(self.base / "devnet")),
            *("--listen", f"127.0.0.1:{self.devnode_port}", "--block-delay", self.block_delay),
            *self.devnode_options,
        )
        wait_until(self._devnode_answers, "the devnode answers")

    def _devnode_answers(self) -> bool:
        """Return whether the devnode takes the token: it writes that anew, after it has begun to listen."""
        if not self.listens(self.devnode_port) or not (self.base / "devnet" / "token").exists():
            return False
        try:
            self.ask_node("ChainHead")
        except errors.CallError:
            return False
        return True

    def launch_manager(self, **env: str) -> None:
        """Start the manager, and do not wait."""
        config = self.base / "manager.toml"
        config.write_text(self._manager_config())
        self.manager = self.start(
            "manager.log",
            env,
            *("damocles-manager", "daemon", "--config", str(config), "--home", str(self.base / "manager")),
            *("--listen", f"127.0.0.1:{self.manager_port}", *self.manager_options),
        )

    def _manager_config(self) -> str:
        return f"""\
[Chain]
Network = "devnet-damocles"

[[Chain.Nodes]]
API = "127.0.0.1:{self.devnode_port}"
TokenFile = "{self.base}/devnet/token"

[[Common.PersistStores]]
Name = "persist"
Path = "{self.base}/persist"

{"".join(self._miner_config(miner) for miner in self.miners)}"""

    def _miner_config(self, miner: int) -> str:
        limit = self.max_sectors if self.max_sectors is not None else _NEVER
        return f"""\
[[Miners]]
Actor = {miner}
Sector = {{ MaxNumber = {limit}, EnableDeals = true, LifetimeDays = {self.lifetime_days} }}

[Miners.Commitment]
Confidence = {self.confidence}
Pre = {{ GasFeeCap = "", Batch = {{ Threshold = {self.batch}, GasFeeCap = "" }} }}
Prove = {{ GasFeeCap = "", Batch = {{ Threshold = {self.batch}, GasFeeCap = "" }} }}

[Miners.Proof]
Enabled = {str(self.makes_blocks).lower()}

"""

    # What happens to the devnode.

    def ask_node(self, method: str, *params: Any, prefix: str = "Filecoin") -> Any:
        """Call a method of the devnode."""
        token = (self.base / "devnet" / "token").read_text().strip()
        url = f"http://127.0.0.1:{self.devnode_port}/rpc/v1"
        with sync.connect(url, token=token, timeout_seconds=30) as node:
            return node.call(f"{prefix}.{method}", list(params), returns=Any)

    @property
    def height(self) -> int:
        """The height of the head."""
        return int(self.ask_node("ChainHead")["Height"])

    def pass_epochs(self, count: int) -> None:
        """Wait until the head is so much higher."""
        until = self.height + count
        wait_until(lambda: self.height >= until, f"epoch {until} comes")

    def create_miner(self) -> None:
        """Create a miner, whose owner and worker are those of the farm's own."""
        accounts = self.ask_node("StateMinerInfo", f"t0{self.miner}", None)
        params = CreateMiner(
            owner=Address.parse(accounts["Owner"]), worker=Address.parse(accounts["Worker"]), window_post_proof_type=10
        )
        message = {
            "To": str(methods.POWER_ACTOR),
            "From": accounts["Owner"],
            "Method": methods.CREATE_MINER.number,
            "Params": base64.b64encode(tuples.encode(params)).decode(),
            "Value": str(100 * ATTO),
        }
        self.ask_node("MpoolPushMessage", message, None)

    def need_posts(self) -> None:
        """Let deadlines be proved from now on, which a devnet does not change; the devnode has to be stopped, and started `WITH_POSTS`."""
        with contextlib.closing(Store(self.base / "devnet")) as store:
            rules = store.rules()
            assert rules is not None
            store.put("rules", msgspec.json.encode(msgspec.structs.replace(rules, needs_posts=True)))

    def restart(self, **changes: Any) -> None:
        """Stop manager and devnode, and start them with some of the farm's fields changed."""
        for process in (self.manager, self.devnode):
            assert process is not None
            farm.stop(process)
        self.manager = None
        for name, value in changes.items():
            setattr(self, name, value)
        self.start_devnode()
        self.launch_manager()
        wait_until(lambda: self.listens(self.manager_port), "the manager listens")

    def kill_devnode(self, *, pool: bool = True) -> None:
        """Kill the devnode and start it again; without `pool` it has lost the messages that waited."""
        assert self.devnode is not None
        farm.stop(self.devnode, kill=True)
        if not pool:
            with contextlib.closing(sqlite3.connect(self.base / "devnet" / FILE_NAME)) as database, database:
                database.execute("DELETE FROM pool")
        self.start_devnode()

    def reorganise(self, *, drop: bool) -> None:
        """Abandon the newest tipsets, never one as deep as the confidence: their heights become null rounds."""
        # Only what came after the last time: what was abandoned then is a gap, over which two tipsets are many epochs.
        wait_until(lambda: self.height >= self._highest + _DEPTH, "the chain goes on")
        self._highest = self.height
        self.ask_node("DevnodeReorganise", _DEPTH, drop, prefix="Damocles")

    # What has come of it.

    @contextlib.contextmanager
    def devnet(self) -> Iterator[tuple[State, list[Executed]]]:
        """Yield the state at the head and the messages that were executed, oldest first; meanwhile the devnode is stopped."""
        assert self.devnode is not None
        farm.stop(self.devnode)
        chain = self.tipsets()
        assert chain[-1].state is not None
        yield chain[-1].state, list(_executed(chain))
        self.start_devnode()

    def tipsets(self) -> list[TipSet]:
        """Return the chain from its first tipset to the head; the devnode must not run."""
        with contextlib.closing(Store(self.base / "devnet")) as store:
            known = {tipset.key: tipset for tipset in store.tipsets()}
            chain = [known[CID((store.get("head") or b"").decode())]]
        while chain[-1].parent is not None:
            chain.append(known[chain[-1].parent])
        return chain[::-1]

    def check_messages(self, *methods: int) -> tuple[State, list[Executed]]:
        """Return the state of the chain, and what the manager's key has sent: messages of these methods, in this order.

        Each was executed once, with success, under the nonce after the one before it; and the manager's records say the same.
        """
        with self.devnet() as (state, all_executed):
            executed = [one for one in all_executed if state.id_of(one.message.sender) == beginnings.WORKER]
        assert [(method, 0) for method in methods] == [(one.message.method, one.exit_code) for one in executed], (
            executed
        )
        assert list(range(len(methods))) == [one.message.nonce for one in executed]
        rows = self.orders()
        assert {"landed": len(methods)} == Counter(row["state"] for row in rows)
        by_cid = {one.cid: one.epoch for one in executed}
        assert [row["landed_epoch"] for row in rows] == [
            next(by_cid[cid] for cid in row["cids"] if cid in by_cid) for row in rows
        ]
        return state, executed

    def next_nonce(self) -> int:
        """Return how many messages of the manager's key the chain has executed, by the state below the head."""
        worker = self.ask_node("StateMinerInfo", f"t0{self.miner}", None)["Worker"]
        return int(self.ask_node("StateGetActor", worker, None)["Nonce"])

    def orders(self) -> list[dict[str, Any]]:
        """Return the orders that the manager has recorded, by nonce, each with the CIDs of its messages."""
        path = self.base / "manager" / "manager.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute("SELECT * FROM outbox ORDER BY nonce")]
            for row in rows:
                signed = database.execute("SELECT cid FROM outbox_signed WHERE order_id = ?", (row["id"],))
                row["cids"] = [CID(cid) for (cid,) in signed]
        return rows


def _executed(chain: Sequence[TipSet]) -> Iterator[Executed]:
    for parent, child in itertools.pairwise(chain):
        for signed, outcome in zip(parent.messages, child.outcomes, strict=True):
            yield Executed(message=signed.message, cid=signed.cid, epoch=child.height, exit_code=outcome.exit_code)
