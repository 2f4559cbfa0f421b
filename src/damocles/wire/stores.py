"""Stores of a running worker: what it has, and a change of that (`Damocles.Stores`, `Damocles.ChangeStore`)."""

from typing import Literal, TypeAlias

import msgspec

from damocles.text import redaction
from damocles.wire import control

StoreKind: TypeAlias = Literal["sealing", "persist"]


class StoreSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A store that a worker uses.

    A sealing store has the `index` of its thread, and the thread's sector if there is one; a persist store has the `name` by
    which the manager knows it. One that was `added` to the running worker is not in its configuration. `leaving` says how far
    its release is, and is empty where nobody releases it.
    """

    worker: str = ""  # the manager fills it in
    kind: StoreKind
    location: str
    index: int | None = None
    plan: str = ""
    sector: str | None = None
    state: str = ""
    name: str = ""
    read_only: bool = False
    added: bool = False
    leaving: str = ""


class FleetStores(msgspec.Struct, frozen=True, kw_only=True):
    """The stores of all workers that answered, and those that did not."""

    stores: list[StoreSeen] = []
    silent: list[control.Silence] = []


class StoreChange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Add a store to a running worker, or release one; a dry run only predicts the outcome.

    `store` is the folder. One to be released may also be named by the number of its thread, or by the persist store's name.
    `kind`, `plan`, `name` and `read_only` are of one to be added. Of a sealing store that is released, `finish` finishes the
    sector first, and `now` kills the running stage.
    """

    verb: Literal["add", "release"]
    store: str
    kind: StoreKind = "sealing"
    plan: str = "sealer"
    name: str = ""
    read_only: bool = False
    finish: bool = False
    now: bool = False
    dry_run: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        """Hide secrets: the reason goes to logs."""
        msgspec.structs.force_setattr(self, "reason", redaction.text(self.reason))
