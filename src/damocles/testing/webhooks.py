"""A web server that receives webhooks, and answers as configured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from damocles.testing import web
from damocles.wire import alerts, codec


@dataclass
class Receiver:
    """What has come, and the answers to give: the last one for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def told(self) -> list[str]:
        """Return what was told, one after the other."""
        messages = [codec.decode(body, alerts.Message) for body in self.bodies]
        return [
            f"{one.event} {one.alert.rule} {one.alert.subject}" for message in messages for one in message.notifications
        ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port while the block runs."""
    receiver = Receiver()

    class Handler(web.Handler):
        def do_POST(self) -> None:
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.bodies.append(self.body())
            self.answer(receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0])

    with web.serving(Handler) as url:
        receiver.url = f"{url}/s3cret"
        yield receiver
