"""A measured figure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A value with its unit, and the goal if there is one: `at_most` or `at_least`."""

    name: str
    value: float
    unit: str
    against: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def text(self) -> str:
        """The value for people."""
        return f"{self.value:.3g} {self.unit}".strip()

    @property
    def goal_text(self) -> str:
        """The goal for people."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g} {self.unit}".strip()
        return f"≥ {self.at_least:g} {self.unit}".strip() if self.at_least is not None else ""

    @property
    def verdict(self) -> str:
        """Whether the goal holds."""
        if self.at_most is None and self.at_least is None:
            return ""
        low = self.at_most is None or self.value <= self.at_most
        high = self.at_least is None or self.value >= self.at_least
        return "yes" if low and high else "NO"
