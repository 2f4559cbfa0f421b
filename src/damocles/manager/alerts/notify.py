"""Notify people of alerts: in the log, by a webhook, and by chat or mail.

Nobody waits for a sink. Each has a queue of its own, tries again with growing pauses, and drops a message after an
hour, or when the receiver answers that it will never accept it.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from damocles.manager.alerts import config as alerts_config
from damocles.rpc import errors
from damocles.wire import alerts, codec

log = structlog.get_logger(__name__)

QUEUE = 1000
SEND_SECONDS = 30.0
_NOW_AND_THEN = frozenset({408, 425, 429})  # refusals that another try may overcome
_LINES = 20  # of alerts in a message to people


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a message is tried again."""

    first_seconds: float = 1.0
    longest_seconds: float = 300.0
    give_up_seconds: float = 3600.0


class Undelivered(Exception):
    """A message did not arrive; `for_good` if it never will."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good


class SinkError(Exception):
    """A sink cannot be used; the message names what to install or to correct."""


class Sink(Protocol):
    """Something that takes messages; `name` is for the log and contains no secret."""

    name: str

    async def send(self, message: alerts.Message) -> None:
        """Deliver a message, or raise `Undelivered`."""


class Webhook:
    """POST of `alerts.Message` as JSON; any answer of 200 to 299 will do."""

    def __init__(self, target: alerts_config.Webhook, client: httpx2.AsyncClient) -> None:
        self.name = f"webhook {urlsplit(target.url).hostname}"  # the path is often the secret
        self._target = target
        self._client = client

    async def send(self, message: alerts.Message) -> None:
        """Deliver a message."""
        headers = {"content-type": "application/json", **self._target.headers}
        try:
            answer = await self._client.post(self._target.url, content=codec.encode(message), headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Undelivered(errors.reason_of(error)) from error
        if answer.has_redirect_location:
            raise Undelivered(f"HTTP status {answer.status_code} is a redirect, which is not followed: use that URL")
        if not answer.is_success:
            refused = 400 <= answer.status_code < 500 and answer.status_code not in _NOW_AND_THEN
            raise Undelivered(f"HTTP status {answer.status_code}: {answer.text[:200]}", for_good=refused)


class Apprise:
    """Chat, mail and the like, by the library apprise, which blocks and so runs in a thread."""

    def __init__(self, url: str) -> None:
        try:
            import apprise  # noqa: PLC0415 (an extra, and 20 MB)
        except ImportError as error:
            raise SinkError(
                "[[apprise]] needs the library apprise, which `make setup` installs; elsewhere: pip install apprise"
            ) from error
        scheme = url.partition(":")[0]
        self._service = apprise.Apprise()
        if not self._service.add(url):
            raise SinkError(
                f"[[apprise]]: the library apprise does not understand a URL {scheme}://…; see https://appriseit.com"
            )
        self.name = f"apprise {scheme}"

    async def send(self, message: alerts.Message) -> None:
        """Deliver a message."""
        title, body = in_words(message)
        notify = partial(self._service.notify, title=title, body=body, timeout=SEND_SECONDS - 1)
        # Its worst is ours to bear: a service that hangs keeps its thread, and the manager can end without it.
        done = await anyio.to_thread.run_sync(notify, abandon_on_cancel=True)
        if not done:
            raise Undelivered("apprise could not deliver it; see its own log lines")


class Delivery(NamedTuple):
    """What became of messages to a sink: `delivered`, `failed` (a try) or `dropped`."""

    sink: str
    outcome: str


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a message was not delivered, and whether to try again is of no use."""

    text: str
    for_good: bool


class Notifier:
    """Hands messages to all sinks; `run` delivers them."""

    def __init__(
        self,
        sinks: Iterable[Sink],
        patience: Patience | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        now: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._patience = patience or Patience()
        self._sleep = sleep
        self._now = now
        self._queues: list[
            tuple[Sink, MemoryObjectSendStream[alerts.Message], MemoryObjectReceiveStream[alerts.Message]]
        ] = [(sink, *anyio.create_memory_object_stream[alerts.Message](QUEUE)) for sink in sinks]
        self.deliveries: Counter[Delivery] = Counter()

    @property
    def sinks(self) -> list[Sink]:
        """All of them."""
        return [sink for sink, _, _ in self._queues]

    def send(self, message: alerts.Message) -> None:
        """Put a message into the queues."""
        for sink, queue, _ in self._queues:
            try:
                queue.send_nowait(message)
            except anyio.WouldBlock:
                self._dropped(sink, message, f"{QUEUE} messages wait already")

    async def try_all(self, message: alerts.Message) -> list[alerts.Delivered]:
        """Send a message to all sinks at once, one time; return what became of it."""
        made: dict[int, alerts.Delivered] = {}

        async def one(number: int, sink: Sink) -> None:
            reason = await self._try(sink, message)
            text = "" if reason is None else reason.text
            made[number] = alerts.Delivered(receiver=sink.name, ok=reason is None, reason=text)

        async with anyio.create_task_group() as tasks:
            for number, sink in enumerate(self.sinks):
                tasks.start_soon(one, number, sink)
        return [made[number] for number in sorted(made)]

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with anyio.create_task_group() as tasks:
            for sink, _, queue in self._queues:
                tasks.start_soon(self._serve, sink, queue)

    def close(self) -> None:
        """Forget what is not delivered."""
        for _, sender, receiver in self._queues:
            sender.close()
            receiver.close()

    async def _serve(self, sink: Sink, queue: MemoryObjectReceiveStream[alerts.Message]) -> None:
        async for message in queue:
            await self._deliver(sink, message)

    async def _deliver(self, sink: Sink, message: alerts.Message) -> None:
        began, pause = self._now(), self._patience.first_seconds
        while True:
            failure = await self._try(sink, message)
            if failure is None:
                return
            reason = failure.text
            if failure.for_good or self._now() + pause - began > self._patience.give_up_seconds:
                self._dropped(sink, message, reason)
                return
            log.warning("alerts not delivered, trying again", sink=sink.name, reason=reason, in_seconds=pause)
            await self._sleep(pause)
            pause = min(2 * pause, self._patience.longest_seconds)

    async def _try(self, sink: Sink, message: alerts.Message) -> "_Failure | None":
        """Send a message once, and count that; return why it failed."""
        try:
            with anyio.fail_after(SEND_SECONDS):
                await sink.send(message)
        except TimeoutError:
            failure = _Failure(f"no answer within {SEND_SECONDS:g} s", for_good=False)
        except Undelivered as error:
            failure = _Failure(str(error), for_good=error.for_good)
        except Exception as error:
            # Of a sink's own defects none may end the manager.
            log.exception("sink of alerts broke", sink=sink.name)
            failure = _Failure(f"{type(error).__name__}: {error}", for_good=True)
        else:
            self.deliveries[Delivery(sink.name, "delivered")] += 1
            return None
        self.deliveries[Delivery(sink.name, "failed")] += 1
        return failure

    def _dropped(self, sink: Sink, message: alerts.Message, reason: str) -> None:
        self.deliveries[Delivery(sink.name, "dropped")] += 1
        ids = [notification.alert.id for notification in message.notifications]
        log.error("alerts not delivered", sink=sink.name, alerts=ids, reason=reason)


@contextlib.asynccontextmanager
async def open_notifier(config: alerts_config.Config) -> AsyncIterator[Notifier]:
    """Yield what hands messages to the configured sinks; what is not delivered at the end is forgotten.

    Raises:
        SinkError: One cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        sinks: list[Sink] = [Apprise(url) for url in config.apprise]
        if config.webhooks:
            # No redirect is followed, and without TLS no proxy of the environment used: it would read the headers.
            client = httpx2.AsyncClient(timeout=SEND_SECONDS, mounts={"http://": None})
            await stack.enter_async_context(client)
            sinks += [Webhook(hook, client) for hook in config.webhooks]
        notifier = Notifier(sinks)
        stack.callback(notifier.close)
        yield notifier


def in_words(message: alerts.Message) -> tuple[str, str]:
    """Write a message for people: a title, and a line for each alert, the most pressing first."""
    order = {alerts.FIRING: 0, alerts.REMINDER: 1, alerts.RESOLVED: 2}
    listed = sorted(message.notifications, key=lambda one: (order.get(one.event, 0), one.alert.severity != "critical"))
    lines = [
        f"{one.event} {one.alert.severity} #{one.alert.id} {one.alert.rule} {one.alert.subject}: {one.alert.text}"
        for one in listed[:_LINES]
    ]
    if len(listed) > _LINES:
        lines.append(f"… and {len(listed) - _LINES} more: damocles-manager alerts list")
    counts = Counter(one.event for one in listed)
    title = "damocles " + ", ".join(f"{count} {event}" for event, count in counts.items())
    return f"{title} at {message.manager}", "\n".join(lines)


def tell_log(notifications: Iterable[alerts.Notification]) -> None:
    """Write a line for each; thousands take a second."""
    for notification in notifications:
        alert = notification.alert
        if notification.event == alerts.RESOLVED:
            tell = log.info
        else:
            tell = log.error if alert.severity == "critical" else log.warning
        facts: Mapping[str, Any] = {"id": alert.id, "rule": alert.rule, "subject": alert.subject}
        tell(f"{notification.event}: {alert.subject}: {alert.text}", **facts)
