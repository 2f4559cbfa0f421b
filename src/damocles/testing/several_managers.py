"""Several managers, each a real process with a home of its own, on one PostgreSQL and one devnode."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from damocles.chain import methods
from damocles.chain.amounts import Amount
from damocles.methods import acts
from damocles.methods import chain as asks
from damocles.rpc import errors
from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.stores import sealing
from damocles.testing import farm, postgres
from damocles.testing.chain_farm import ChainFarm, Executed

_BLOCK_BYTES = 65536


class Link:
    """A port of this machine that leads to another one, until it is `cut`: then it swallows what comes, as a cut cable does."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.is_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            other, has_lost = {client: server, server: client}, False
            while True:
                for ready in select.select([client, server], [], [], 0.5)[0]:
                    block = ready.recv(_BLOCK_BYTES)
                    if not block:
                        return
                    if self.is_cut:
                        has_lost = True
                    elif has_lost:
                        return  # it would go on in the middle of something
                    else:
                        other[ready].sendall(block)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()


@dataclass
class Member:
    """A manager: its home, its port, its way to the database, and its process while it runs."""

    home: Path
    link: Link
    port: int = field(default_factory=farm.free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What it has logged."""
        return self.home.with_suffix(".log")


@dataclass
class Several:
    """Managers of a farm whose devnode runs; `with` stops them, and the workers."""

    farm: ChainFarm
    server: postgres.Server
    database: str
    count: int = 2
    members: list[Member] = field(default_factory=list)
    workers: list[ChainFarm] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(self.count):
            self.members.append(Member(self.farm.base / f"manager-{number + 1}", Link(self.server.port)))
            self.start(number)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            for member in self.members:
                stack.callback(member.link.close)
                if member.process is not None:
                    stack.callback(farm.stop, member.process, kill=True)
            for worker in self.workers:
                if worker.worker is not None:
                    stack.callback(farm.stop, worker.worker)

    def start(self, number: int) -> None:
        """Start a manager and wait until it listens."""
        member = self.members[number]
        config = self.farm.base / "manager.toml"
        config.write_text(self.farm._manager_config())  # noqa: SLF001 (our own)
        member.process = self.farm.start(
            member.log.name,
            {},
            *("damocles-manager", "daemon", "--config", str(config), "--home", str(member.home)),
            *("--listen", f"127.0.0.1:{member.port}", "--database", self.url(member)),
        )
        farm.wait_until(lambda: self._listens(member), f"{member.home.name} listens", 120)

    def _listens(self, member: Member) -> bool:
        assert member.process is not None
        if member.process.poll() is not None:
            raise AssertionError(f"{member.home.name} ended:\n{member.log.read_text()[-4000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", member.port)) == 0

    def url(self, member: Member | None = None) -> str:
        """Return how a manager reaches the database, or how one does that nothing happens to."""
        return self.server.url(self.database, port=None if member is None else member.link.port)

    def start_worker(self, number: int, threads: int, *, others: Sequence[int] = ()) -> ChainFarm:
        """Start a worker of a manager, which may know others too, with fresh stores; the first manager's token is good at all."""
        base = self.farm.base / f"worker-{number + 1}"
        base.mkdir()
        made = replace(
            self.farm,
            base=base,
            shared=self.farm.base,
            name=f"worker-{number + 1}",
            threads=threads,
            worker_port=farm.free_port(),
            manager_port=self.members[number].port,
            worker=None,
            manager=None,
            devnode=None,
        )
        for store in made.stores:
            sealing.init(store)
        text = made._config().replace("/manager/worker-token", f"/{self.members[0].home.name}/worker-token")  # noqa: SLF001 (our own)
        addresses = [f"http://127.0.0.1:{self.members[other].port}" for other in others]
        made.config.write_text(text.replace("token_file", f"addresses = {addresses}\ntoken_file", 1))
        made.start_worker()
        self.workers.append(made)
        return made

    # What happens to managers -----------------------------------------------------------------------------------------

    def end(self, number: int, *, kill: bool) -> None:
        """End a manager, politely or with SIGKILL."""
        process = self.members[number].process
        assert process is not None
        farm.stop(process, kill=kill)
        self.members[number].process = None

    def freeze(self, number: int) -> None:
        """Stop a manager and its children, as a machine that sleeps."""
        self._signal(number, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Let it go on."""
        self._signal(number, signal.SIGCONT)

    def _signal(self, number: int, what: signal.Signals) -> None:
        process = self.members[number].process
        assert process is not None
        os.killpg(process.pid, what)

    # What they are asked ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self, number: int, timeout_seconds: float = 30.0) -> Iterator[sync.Client]:
        """Return a connection to a manager with its own token."""
        member = self.members[number]
        token = tokens.read_file(member.home / "token")
        with sync.connect(
            f"http://127.0.0.1:{member.port}/rpc/v0", token=token, timeout_seconds=timeout_seconds
        ) as client:
            yield client

    def order(self, number: int, amount: int, timeout_seconds: float = 30.0) -> bool:
        """Order a message by a manager that takes an amount of its own out of the miner; return whether it says that it did."""
        wanted = acts.AffairWanted(acts.Withdraw(miner=self.farm.miner, amount=Amount(amount)))
        try:
            with self.client(number, timeout_seconds) as manager:
                return bool(manager.call(asks.administer(wanted)).orders)
        except errors.CallError:
            return False

    def query(self, statement: str) -> list[list[str]]:
        """Return the rows of a query of the database."""
        return [line.split("|") for line in self.server.run(self.database, statement).splitlines()]

    def holders(self, begins: str) -> dict[str, int]:
        """Return which manager has each lease that has not ended, by its name, of those that begin so; of managers that are listed."""
        rows = self.query(
            "SELECT l.name, m.name FROM leases l JOIN managers m USING (holder) WHERE l.ends > date_part('epoch', now())"
        )
        homes = {str(one.home): number for number, one in enumerate(self.members)}
        return {
            lease: number
            for lease, home in rows
            for known, number in homes.items()
            if lease.startswith(begins) and home.endswith(known)
        }

    def unfinished(self) -> int:
        """Return how many of what `order` has ordered is not over."""
        return int(
            self.query("SELECT count(*) FROM outbox WHERE kind = 'withdraw' AND state IN ('wanted', 'signed')")[0][0]
        )

    # What has come of it ----------------------------------------------------------------------------------------------

    def check(self, ordered: dict[int, bool]) -> list[Executed]:
        """Check what the chain has executed; return it, the oldest first. `ordered` says of each amount whether a manager said yes.

        Each message that a manager took was executed once, no other one twice; a sender's nonces have no gap.
        """
        with self.farm.devnet() as (_, executed):
            found = [one for one in executed if one.message.method == methods.WITHDRAW.number]
            amounts = Counter(int(methods.WITHDRAW.read_params(bytes(one.message.params)).amount) for one in found)
            nonces: dict[str, list[int]] = {}
            for one in executed:
                nonces.setdefault(str(one.message.sender), []).append(one.message.nonce)
        assert dict.fromkeys(amounts, 1) == dict(amounts)
        assert {amount for amount, taken in ordered.items() if taken} <= amounts.keys() <= ordered.keys()
        for sender, used in nonces.items():
            assert sorted(used) == list(range(len(used))), (sender, used)
        return executed

    def logs(self) -> str:
        """Return all logs, for failures."""
        return "\n".join(f"== {one.log.name}\n{one.log.read_text()[-6000:]}" for one in self.members) + self.farm.logs()
