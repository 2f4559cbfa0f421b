"""How much of a daemon others may use, and how much of it they use now.

The limits apply to the whole as well as to each: a token has a fixed number of connections, however many it tries.
`docs/reference/limits.md` lists them for people; the metrics of both daemons show how full those are that fill.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from damocles.rpc import messages
from damocles.text import redaction
from damocles.wire import control

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30

# Connections, see `places`.
CONNECTIONS = 1000
WAITING_CONNECTIONS = 1000  # that nobody has accepted yet
KEPT_FOR_LOOPBACK = 8  # of them, so that an admin on this machine finds a place
CONNECTIONS_OF_A_HOST = 400
CONNECTIONS_OF_A_TOKEN = 200
STRANGERS_OF_A_HOST = 100
WEBSOCKETS_OF_A_TOKEN = 32

# Calls that run at once.
CALLS_OF_A_TOKEN = 32
CALLS_OF_A_WORKER = 256  # its threads may all call at once
CALLS_OF_A_WEBSOCKET = 64
REFUSED_SECONDS = 1.0  # until who has too many is answered
QUERIES_OF_A_TOKEN = 2  # in the queue for the database
LOOKS_OF_A_TOKEN = 2  # at the workers of the fleet
THREADS_OF_A_WORKER = 1000

# What comes in.
STRANGER_BYTES = 64 * _KIB  # of a peer whose call will be refused: enough to read its id
SMALL_BODY_BYTES = 1 * _MIB  # of workers and readers: only what operators and admins bring is larger
BODIES_OF_A_TOKEN_BYTES = 32 * _MIB  # all that are held at once
FRAME_BYTES = 1 * _MIB
FRAGMENTS_OF_A_FRAME = 1000
ID_CHARACTERS = messages.ID_CHARACTERS
NAMES_OF_WORKERS = control.MOST_WORKERS  # in one call
OTHER_NAMES = control.MOST_OTHERS  # of sectors, states or threads in one call
ADDRESSES = 16  # of workers that are not registered, in one call

# What goes out, see `outbox`.
UNREAD_BYTES = 32 * _MIB
UNREAD_OF_A_CONNECTION_BYTES = 16 * _MIB  # with which it may ask for more
UNREAD_SECONDS = 30.0
AUDIT_ANSWER_BYTES = 1 * _MIB

# What workers answer to the manager.
WORKER_ANSWER_BYTES = 4 * _MIB
WORKER_ANSWERS_BYTES = 16 * _MIB
WORKER_CLIENTS = 1024
REFUSAL_CHARACTERS = 2000

# What the manager keeps of workers.
REPORT_CHARACTERS = redaction.KEPT_CHARACTERS
REPORTS_OF_A_SECTOR = 10_000
ROOM_KEPT_BYTES = 1 * _GIB
SHARED_NAMES = 500  # of workers, before one that no token vouches for is too many
SECTORS_OF_A_WORKER = 1000  # at work, that the token of one worker was given
SECTORS_OF_A_SHARED_TOKEN = 20_000  # likewise, also of an address that is let in


class Level(NamedTuple):
    """How much of a limit is used, and how much there is."""

    used: float
    most: float


class Gauges:
    """How full the limits of one daemon are, and how often each has been met, for its metrics."""

    def __init__(self) -> None:
        self._levels: list[Callable[[], Mapping[str, Level]]] = []
        self._met: list[Mapping[str, int]] = []

    def watch(self, levels: Callable[[], Mapping[str, Level]], met: Mapping[str, int]) -> None:
        """Show what `levels` returns, and the counts in `met`."""
        self._levels.append(levels)
        self._met.append(met)

    def levels(self) -> dict[str, Level]:
        """Return how full each limit is."""
        return {name: level for levels in self._levels for name, level in levels().items()}

    def met(self) -> dict[str, int]:
        """Return how often each limit has been met; those that have not yet are 0."""
        counts = {name: count for met in self._met for name, count in met.items()}
        return dict.fromkeys(self.levels(), 0) | counts
