"""The fleet of the original's manager: it has the workers' addresses, and each worker is called directly.

The original's own command line does the same. Tokens for workers are found as `damocles-worker -H ADDRESS` finds them; the
original's workers need none.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from msgspec import structs

from damocles import methods
from damocles.cli.connecting import calls, credentials, worker_at
from damocles.cli.terminal import exits
from damocles.operating import dialogues, selection
from damocles.rpc import address, errors
from damocles.text import units
from damocles.wire import control, fleet
from damocles.worker.config import rpc

T = TypeVar("T")

_AT_ONCE = 64
_NAMES_TOLD = 10


class Fleet:
    """The workers of another manager's list, under the methods by which our manager offers its own.

    `url` is that manager's; each worker has `seconds` for its answer.
    """

    def __init__(
        self, pings: Sequence[fleet.PingInfo], *, url: str, ca_file: Path | None, insecure: bool = False
    ) -> None:
        # A worker that was renamed leaves its old name behind, and must not be called twice.
        newest = {ping.info.dest: ping for ping in sorted(pings, key=lambda ping: ping.last_ping)}
        self._all = {ping.info.name: ping for ping in pings}
        self._known = [ping for ping in pings if newest[ping.info.dest] is ping]
        self._url = url
        self._ca_file = ca_file
        self._insecure = insecure

    def stand_ins(self) -> Mapping[str, Callable[..., Any]]:
        """Return the methods on offer, with our manager's names and parameters."""
        return {
            methods.fleet.workers.name: self.workers,
            methods.fleet.threads.name: self.threads,
            methods.fleet.act.name: self.act,
            methods.fleet.history.name: self.history,
            methods.fleet.drain.name: self.drain,
            methods.fleet.drain_state.name: self.drain_state,
            methods.fleet.logs.name: self.logs,
        }

    def workers(self, _expiration_seconds: float | None = None) -> list[control.WorkerStatus]:
        """Return the list; only our own manager knows a worker's status."""
        now = time.time()
        return [
            control.WorkerStatus(
                info=ping.info,
                status="",
                last_ping=ping.last_ping,
                age_seconds=now - ping.last_ping,
                interval_seconds=0.0,
            )
            for ping in self._all.values()
        ]

    def threads(self, chosen: control.Selection, seconds: float) -> control.FleetThreads:
        """Return the selected threads by worker and index."""
        answers, silent = self._gather(self._targets(chosen.workers), lambda: dialogues.threads(time.time()), seconds)
        return control.FleetThreads(
            threads=[
                structs.replace(detail, worker=info.name, dest=info.dest)
                for info, details in answers
                for detail in details
                if selection.holds(chosen, detail)
            ],
            silent=silent,
        )

    def act(self, chosen: control.Selection, wanted: control.Act, seconds: float) -> list[control.Outcome]:
        """Do something to the selected threads."""
        targets = self._targets(chosen.workers)
        answers, silent = self._gather(targets, lambda: dialogues.act(chosen, wanted, time.time()), seconds)
        done = [
            structs.replace(one, worker=info.name, dest=info.dest) for info, outcomes in answers for one in outcomes
        ]
        return done + [
            control.Outcome(worker=one.worker, dest=one.dest, ok=False, silent=True, text=one.reason) for one in silent
        ]

    def history(self, sector: str, seconds: float) -> control.SectorHistory:
        """Return what the journals of our workers have of a sector; the original's have none."""

        def ask() -> dialogues.Dialogue[list[control.HistoryEntry]]:
            return dialogues.asked_for(methods.worker.history(sector))

        answers, silent = self._gather(self._known, ask, seconds)
        entries = [structs.replace(entry, worker=info.name) for info, found in answers for entry in found]
        return control.SectorHistory(entries=sorted(entries, key=lambda entry: entry.at), silent=silent)

    def drain(
        self, worker: str, on: bool, deadline_seconds: float | None, reason: str, seconds: float
    ) -> control.Drain:
        """Begin or end a drain of a worker."""
        return self._ask(worker, methods.worker.drain(on, deadline_seconds, reason), seconds)

    def drain_state(self, worker: str, seconds: float) -> control.Drain:
        """Return the state of a drain."""
        return self._ask(worker, methods.worker.drain_state(), seconds)

    def logs(self, worker: str, index: int, after: int, wait_seconds: float, seconds: float) -> list[control.LogLine]:
        """Return the latest log lines of a thread's stages."""
        return self._ask(worker, methods.worker.logs(index, after, wait_seconds), seconds + wait_seconds)

    # How ------------------------------------------------------------------------------------------------------------

    def _targets(self, texts: Sequence[str]) -> list[fleet.PingInfo]:
        """Find the workers that names, patterns and addresses stand for; nothing given means all.

        Raises:
            exits.UnknownWorker: No worker has a name or address, or none matches the patterns.
        """
        if not texts:
            return self._known
        found: dict[str, fleet.PingInfo] = {}
        for text in texts:
            matched = [self._all[text]] if text in self._all else []
            matched = matched or [one for one in self._known if selection.names(text, one.info.name, one.info.dest)]
            if not matched and not selection.is_pattern(text):
                matched = [self._by_address(text)]
            found |= {one.info.name: one for one in matched}
        if not found:
            raise exits.UnknownWorker(f"no worker matches {' '.join(texts)!r}; {self._named()}")
        return list(found.values())

    def _by_address(self, text: str) -> fleet.PingInfo:
        """Return the worker at an address."""
        try:
            url = address.worker_url(text)
            if "://" not in text:
                endpoint = address.host_port(text, address.WORKER_PORT)
                socket.getaddrinfo(endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM)
        except (ValueError, OSError) as error:
            unknown = f"no worker is named {text!r}, and it is not an address; {self._named()}"
            raise exits.UnknownWorker(unknown) from error
        for one in self._known:
            with contextlib.suppress(ValueError):
                if address.worker_url(one.info.dest) == url:
                    return one
        return fleet.PingInfo(fleet.WorkerInfo(text, text), 0)

    def _named(self) -> str:
        names = [one.info.name for one in self._known]
        return f"known workers: {', '.join(names[:_NAMES_TOLD]) or 'none'}{', …' if len(names) > _NAMES_TOLD else ''}"

    def _gather(
        self, targets: Sequence[fleet.PingInfo], dialogue: Callable[[], dialogues.Dialogue[T]], seconds: float
    ) -> tuple[list[tuple[fleet.WorkerInfo, T]], list[control.Silence]]:
        """Hold a dialogue with all targets at once; return the answers, and the targets that gave none, in the given order."""

        def hold(target: fleet.PingInfo) -> T | exits.Failed:
            try:
                return self._hold(target, dialogue(), seconds)
            except exits.Failed as failure:
                return failure

        with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(targets)))) as pool:
            answers = list(zip(targets, pool.map(hold, targets), strict=True))
        if len(answers) == 1 and isinstance(refusal := answers[0][1], exits.NotAllowed):
            raise exits.NotAllowed(f"{targets[0].info.name}: {refusal}")
        return (
            [(target.info, answer) for target, answer in answers if not isinstance(answer, exits.Failed)],
            [
                control.Silence(worker=target.info.name, dest=target.info.dest, reason=str(answer))
                for target, answer in answers
                if isinstance(answer, exits.Failed)
            ],
        )

    def _ask(self, worker: str, ask: methods.Ask[T], seconds: float) -> T:
        targets = self._targets([worker])
        if len(targets) != 1:
            raise exits.WrongUsage(
                f"{worker!r} must name one worker, not {', '.join(one.info.name for one in targets)}"
            )
        try:
            return self._hold(targets[0], dialogues.asked_for(ask), seconds)
        except exits.Failed as failure:
            raise type(failure)(f"{targets[0].info.name}: {failure}") from failure

    def _hold(self, target: fleet.PingInfo, dialogue: dialogues.Dialogue[T], seconds: float) -> T:
        try:
            url = address.worker_url(target.info.dest)
        except ValueError as error:
            raise exits.WorkerUnreachable(f"{error}; {self._source(target)}") from error
        home, insecure = rpc.DEFAULT_HOME, self._insecure
        token = credentials.token(url, given=None, variable=worker_at.VARIABLE, home=home, insecure=insecure)
        with credentials.connect(
            url, token=token, ca_file=self._ca_file, timeout_seconds=seconds, insecure=insecure
        ) as worker:
            try:
                return calls.hold(worker, dialogue)
            except errors.RpcError as refusal:
                raise calls.failed(refusal.code, refusal.message) from refusal
            except exits.WorkerUnreachable as failure:
                if not target.last_ping:
                    raise
                raise exits.WorkerUnreachable(f"{failure}; {self._source(target)}") from failure

    def _source(self, target: fleet.PingInfo) -> str:
        ago = units.brief_duration(max(0, round(time.time() - target.last_ping)))
        return f"the address is that of its last ping to the manager at {self._url}, {ago} ago"
