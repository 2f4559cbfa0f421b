"""Who may call what: scopes, and the rule that a method or a route has.

`read` < `operate` < `admin` are steps of one ladder. `worker` stands apart: it opens what sealing workers call, and
nothing by which one could manage another.
"""

import enum
from collections.abc import Collection
from dataclasses import dataclass


class Scope(enum.StrEnum):
    """What a token allows."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    WORKER = "worker"


_LADDER = (Scope.READ, Scope.OPERATE, Scope.ADMIN)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method takes.

    `least` is the lowest step of the ladder that may call it, `worker` whether sealing workers may. A method that
    `changes` something is audited. Of one that is `secret`, the result is not written down.
    """

    least: Scope
    worker: bool = False
    changes: bool = False
    secret: bool = False

    def allows(self, scopes: Collection[Scope]) -> bool:
        """Return whether one of the scopes suffices."""
        steps = _LADDER[_LADDER.index(self.least) :]
        return any(step in scopes for step in steps) or (self.worker and Scope.WORKER in scopes)

    def is_audited(self, scopes: Collection[Scope]) -> bool:
        """Return whether the audit has an entry of it when a caller with these scopes does it."""
        return self.changes and not (self.worker and Scope.WORKER in scopes)

    def needs(self) -> str:
        """Return what is needed, in words."""
        return f"{self.least} or {Scope.WORKER}" if self.worker else str(self.least)


READ = Rule(Scope.READ)
OPERATE = Rule(Scope.OPERATE, changes=True)
ADMIN = Rule(Scope.ADMIN, changes=True)
LOOKING_ADMIN = Rule(Scope.ADMIN)  # shows, or prepares, what only an admin may
ASKED = Rule(Scope.READ, worker=True)  # a worker asks, and so may people
SEALING = Rule(Scope.ADMIN, worker=True, changes=True)  # a step in a sector's life, its worker's own business
ENDING = Rule(Scope.OPERATE, worker=True, changes=True)  # the same, if it is not an operator's: `abort`, `resend-pre`
UNDER_ATTEMPT = Rule(Scope.ADMIN, worker=True)  # what is called under an attempt is audited by its own name
MINTING = Rule(Scope.ADMIN, changes=True, secret=True)
