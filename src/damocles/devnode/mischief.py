"""Trouble on request: methods that are slow, wrong or missing, a node that lags behind, a chain that stands still."""

import math
from typing import Literal

import msgspec

Kind = Literal["slow", "error", "result", "missing", "hang up", "html"]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What comes instead of an answer.

    `slow` answers after `seconds`; `error` is refused with `text`; `result` is answered with the JSON in `text`;
    `missing` is a method that is not there; `html` is what a proxy says; `hang up` breaks the connection, after the
    call was carried out if `late`. `times` says for how many calls (`None`: until it is taken back).
    """

    kind: Kind
    seconds: float = 0.0
    text: str = ""
    times: int | None = None
    late: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds of a fault are 0 or more, not {self.seconds:g}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"a fault is for 1 or more calls, or without times for all, not for {self.times}")


class Mischief:
    """Faults by method, without `Filecoin.`; `*` are all methods. `behind` is how many epochs the head lags."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self.behind = 0

    def put(self, method: str, fault: Fault | None) -> None:
        """Let a method have a fault, or none any more."""
        if fault is None:
            self._faults.pop(method, None)
        else:
            self._faults[method] = fault

    def clear(self) -> None:
        """Take all faults back."""
        self._faults.clear()
        self.behind = 0

    def take(self, method: str) -> Fault | None:
        """Return the fault of a call that comes now."""
        short = method.removeprefix("Filecoin.")
        if method.startswith("Damocles."):
            return None
        name = short if short in self._faults else "*"
        fault = self._faults.get(name)
        if fault is None or fault.times is None:
            return fault
        if fault.times <= 1:
            del self._faults[name]
        else:
            self._faults[name] = msgspec.structs.replace(fault, times=fault.times - 1)
        return fault
