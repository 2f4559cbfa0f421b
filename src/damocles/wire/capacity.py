"""Structs of `Damocles.Capacity`: what a worker's machine has, has granted, and how long its stages take."""

from typing import Annotated, Any, TypeAlias

import msgspec

from damocles.wire import control

# A worker that tells of more is none of ours; whoever forecasts it would be kept busy.
MOST_THREADS = 1000
_Threads: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST_THREADS)]
_Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Needs: TypeAlias = Annotated[dict[str, _Amount], msgspec.Meta(max_length=16)]


class Grant(msgspec.Struct, frozen=True):
    """What a task that runs takes of the machine."""

    label: str
    needs: Needs


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a plan: its state, the stage that it mostly is (empty for a wait), and its time.

    `samples` is of how many sectors the time is the median; none if somebody has stated it.
    """

    state: str
    stage: str = ""
    seconds: control.Seconds
    samples: int = 0
    needs: Needs = {}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The threads of a worker that do the same with sectors of the same size; no steps where nothing is known yet.

    `needs` is what each stage of the plan takes of the machine.
    """

    plan: str
    size: str
    threads: _Threads
    steps: Annotated[list[Step], msgspec.Meta(max_length=64)] = []
    needs: Annotated[dict[str, Needs], msgspec.Meta(max_length=64)] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: `capacity` is what counts of its machine, `slots` how many tasks of a stage may run at once."""

    worker: str = ""
    machine: dict[str, Any] = {}
    capacity: Needs = {}
    slots: Annotated[dict[str, Annotated[int, msgspec.Meta(ge=1)]], msgspec.Meta(max_length=64)] = {}
    granted: Annotated[list[Grant], msgspec.Meta(max_length=MOST_THREADS)] = []
    lines: Annotated[list[Line], msgspec.Meta(max_length=16)] = []


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that answered, and those that did not."""

    workers: list[Report]
    silent: list[control.Silence] = []
