"""Structs of `Damocles.Capacity`: what a worker's machine has, has granted, and how long its stages take."""

from typing import Any

import msgspec

from damocles.wire import control


class Grant(msgspec.Struct, frozen=True):
    """What a task that runs takes of the machine."""

    label: str
    needs: dict[str, int]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a plan: its state, the stage that it mostly is (empty for a wait), and its time.

    `samples` is of how many sectors the time is the median; none if somebody has stated it.
    """

    state: str
    stage: str = ""
    seconds: float
    samples: int = 0
    needs: dict[str, int] = {}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The threads of a worker that do the same with sectors of the same size; no steps where nothing is known yet.

    `needs` is what each stage of the plan takes of the machine.
    """

    plan: str
    size: str
    threads: int
    steps: list[Step] = []
    needs: dict[str, dict[str, int]] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: `capacity` is what counts of its machine, `slots` how many tasks of a stage may run at once."""

    worker: str = ""
    machine: dict[str, Any] = {}
    capacity: dict[str, int] = {}
    slots: dict[str, int] = {}
    granted: list[Grant] = []
    lines: list[Line] = []


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that answered, and those that did not."""

    workers: list[Report]
    silent: list[control.Silence] = []
