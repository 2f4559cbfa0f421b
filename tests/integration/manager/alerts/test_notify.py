"""Telling people: what is sent, how it is tried again, and who waits for it (nobody)."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog
from msgspec import structs

from damocles.manager.alerts import config as alerts_config
from damocles.manager.alerts import notify
from damocles.manager.alerts.notify import Delivery
from damocles.testing.webhooks import receiving
from damocles.wire import alerts, codec

ALERT = alerts.Alert(
    id=7, rule="worker-lost", subject="gpu-1", severity="critical", state="firing", text="no ping since noon", since=1.0
)
MESSAGE = alerts.Message(manager="127.0.0.1:1789", at=2.0, notifications=[alerts.Notification(alerts.FIRING, ALERT)])


async def until(condition: Callable[[], object]) -> None:
    """Return when something holds."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)


@asynccontextmanager
async def running(notifier: notify.Notifier) -> AsyncIterator[notify.Notifier]:
    """Deliver while the block runs."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notifier.run)
        try:
            yield notifier
        finally:
            tasks.cancel_scope.cancel()
            notifier.close()


class Pauses:
    """A clock that jumps over every pause, and keeps how long each was."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Pause."""
        self.seconds.append(seconds)
        await anyio.lowlevel.checkpoint()

    def now(self) -> float:
        """Return the time."""
        return sum(self.seconds)


class Sink:
    """Fails as it is told, and keeps what arrived."""

    def __init__(self, name: str = "sink", failure: Exception | None = None, *, hangs: bool = False) -> None:
        self.name = name
        self.failure = failure
        self.hangs = hangs
        self.tries = 0
        self.arrived: list[alerts.Message] = []

    async def send(self, message: alerts.Message) -> None:
        """Deliver."""
        self.tries += 1
        if self.hangs:
            await anyio.sleep_forever()
        if self.failure is not None:
            raise self.failure
        self.arrived.append(message)


async def test_a_webhook_gets_the_whole_alert_and_the_configured_headers() -> None:
    """The body is the message as JSON, with every field of the alert."""
    with receiving() as receiver:
        hook = alerts_config.Webhook(url=receiver.url, headers={"authorization": "Bearer secret"})
        config = alerts_config.Config(webhooks=(hook,))
        async with notify.open_notifier(config) as notifier, running(notifier):
            notifier.send(MESSAGE)
            await until(lambda: receiver.bodies)
    assert MESSAGE == codec.decode(receiver.bodies[0], alerts.Message)
    assert ("Bearer secret", "application/json") == (
        receiver.headers[0]["authorization"],
        receiver.headers[0]["content-type"],
    )


async def test_a_webhook_is_tried_again_until_it_takes_the_message() -> None:
    """After failures of the server the same message arrives, and the pauses in between double."""
    pauses = Pauses()
    with receiving() as receiver:
        receiver.statuses = [500, 503, 429, 200]
        config = alerts_config.Config(webhooks=(alerts_config.Webhook(url=receiver.url),))
        async with notify.open_notifier(config) as made:
            (sink,) = made.sinks
            async with running(notify.Notifier([sink], sleep=pauses.sleep, now=pauses.now)) as notifier:
                notifier.send(MESSAGE)
                await until(lambda: notifier.deliveries[Delivery(sink.name, "delivered")])
    assert ([1.0, 2.0, 4.0], 4) == (pauses.seconds, len(set(receiver.bodies)) + 3)
    assert 3 == notifier.deliveries[Delivery(sink.name, "failed")]


def test_the_log_has_an_alert_as_a_sentence() -> None:
    """The event says what happened to which subject; number and rule stand behind it, and the level is the severity's."""
    with structlog.testing.capture_logs() as logs:
        for notification in MESSAGE.notifications:
            notify.tell_log([notification])
    alert = MESSAGE.notifications[0].alert
    assert {
        "event": f"{MESSAGE.notifications[0].event}: {alert.subject}: {alert.text}",
        "log_level": "error" if alert.severity == "critical" else "warning",
        "id": alert.id,
        "rule": alert.rule,
        "subject": alert.subject,
    } == logs[0]


async def test_a_refusal_for_good_is_not_tried_again() -> None:
    """A receiver that says that the request is wrong gets it once, and the log says so without the secret URL."""
    with receiving() as receiver, structlog.testing.capture_logs() as logs:
        receiver.statuses = [404]
        config = alerts_config.Config(webhooks=(alerts_config.Webhook(url=receiver.url),))
        async with notify.open_notifier(config) as notifier, running(notifier):
            notifier.send(MESSAGE)
            await until(lambda: notifier.deliveries[Delivery("webhook 127.0.0.1", "dropped")])
    assert 1 == len(receiver.bodies)
    (told,) = [line for line in logs if line["event"] == "alerts not delivered"]
    assert ([7], "HTTP status 404: ") == (told["alerts"], told["reason"])
    assert "s3cret" not in str(logs)


async def test_a_receiver_that_is_away_is_given_up_after_an_hour() -> None:
    """The pauses grow to five minutes, and the message is dropped when an hour has passed."""
    pauses = Pauses()
    sink = Sink(failure=notify.Undelivered("away"))
    async with running(notify.Notifier([sink], sleep=pauses.sleep, now=pauses.now)) as notifier:
        notifier.send(MESSAGE)
        await until(lambda: notifier.deliveries[Delivery("sink", "dropped")])
    assert 300.0 == max(pauses.seconds)
    assert 3000 < sum(pauses.seconds) <= 3600


async def test_a_sink_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one sink hangs another delivers, `send` returns at once, and what does not fit is dropped."""
    monkeypatch.setattr(notify, "QUEUE", 5)
    hanging, well = Sink("hanging", hangs=True), Sink("well")
    async with running(notify.Notifier([hanging, well])) as notifier:
        for number in range(1, 11):
            notifier.send(MESSAGE)
            while len(well.arrived) < number:
                await anyio.sleep(0)
    assert 1 == hanging.tries
    assert 4 == notifier.deliveries[Delivery("hanging", "dropped")]  # one is being sent, five wait


async def test_a_sink_with_a_defect_ends_nothing() -> None:
    """An exception that nobody foresaw drops the message and is logged; the next one is tried."""
    sink = Sink(failure=ZeroDivisionError("oops"))
    async with running(notify.Notifier([sink])) as notifier:
        notifier.send(MESSAGE)
        await until(lambda: notifier.deliveries[Delivery("sink", "dropped")])
        sink.failure = None
        notifier.send(MESSAGE)
        await until(lambda: sink.arrived)


def test_people_read_the_most_pressing_first() -> None:
    """Many alerts make one message, with what fires before what is resolved, and no more lines than one reads."""
    many = [
        alerts.Notification(event, structs.replace(ALERT, id=number, severity=severity))
        for number, (event, severity) in enumerate(
            [("resolved", "critical"), ("firing", "warning"), ("firing", "critical"), *[("reminder", "warning")] * 30]
        )
    ]
    title, body = notify.in_words(alerts.Message(manager="m:1789", at=0.0, notifications=many))
    lines = body.splitlines()
    assert "damocles 2 firing, 30 reminder, 1 resolved at m:1789" == title
    assert "firing critical #2 worker-lost gpu-1: no ping since noon" == lines[0]
    assert (21, "… and 13 more: damocles-manager alerts list") == (len(lines), lines[-1])


# apprise imports a module of the standard library that warns of its own end.
apprises = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@apprises
async def test_apprise_delivers_in_words() -> None:
    """A URL of apprise gets a title and a line for each alert."""
    pytest.importorskip("apprise")
    with receiving() as receiver:
        url = receiver.url.replace("http://", "json://")
        async with notify.open_notifier(alerts_config.Config(apprise=(url,))) as notifier, running(notifier):
            notifier.send(MESSAGE)
            await until(lambda: receiver.bodies)
            await until(lambda: notifier.deliveries[Delivery("apprise json", "delivered")])
    told = json.loads(receiver.bodies[0])
    assert ("damocles 1 firing at 127.0.0.1:1789", "firing critical #7 worker-lost gpu-1: no ping since noon") == (
        told["title"],
        told["message"],
    )


@apprises
async def test_apprise_failures_are_tried_again() -> None:
    """What apprise could not deliver counts as failed."""
    pytest.importorskip("apprise")
    with receiving() as receiver:
        receiver.statuses = [500]
        sink = notify.Apprise(receiver.url.replace("http://", "json://"))
        with pytest.raises(notify.Undelivered, match="apprise could not deliver"):
            await sink.send(MESSAGE)


def test_without_apprise_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra; who configures it without having it is told how to get it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(notify.SinkError, match="elsewhere: pip install apprise"):
        notify.Apprise("ntfy://topic")


@apprises
def test_a_url_that_apprise_does_not_know_is_refused() -> None:
    """A wrong URL is found at the start, and only its scheme is repeated."""
    pytest.importorskip("apprise")
    with pytest.raises(notify.SinkError, match=r"does not understand a URL nosuch://…") as raised:
        notify.Apprise("nosuch://s3cret")
    assert "s3cret" not in str(raised.value)
