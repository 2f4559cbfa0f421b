"""Lay a plan out as a graph: its states in a column, and each transition an arrow; coordinates are SVG's.

Where the way goes on from a state to the one below, the arrow is straight; every other one is an arc at the side.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from damocles.sealing.plans import table

WIDTH, NODE_WIDTH, NODE_HEIGHT, STEP = 460, 300, 40, 62
_LEFT, _TOP = 8, 8
_ARC, _ARC_STEP = 34, 16  # how far the first arc leaves the column, and each longer one besides


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A state: where it stands, and what the sector has done there."""

    state: str
    stage: str
    x: int
    y: int
    here: bool
    visits: int
    failures: int
    seconds: float
    stayed_seconds: float


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A transition: its event, and its line as an SVG path."""

    event: str
    source: str
    target: str
    path: str
    taken: bool


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with what a sector has done in it."""

    width: int
    height: int
    nodes: list[Node]
    edges: list[Edge]


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """What a sector has done in a state: how often it came there, how long it worked, and how often that failed.

    `stayed_seconds` is how long it was there, with all that it waited for.
    """

    visits: int = 0
    seconds: float = 0.0
    stayed_seconds: float = 0.0
    failures: int = 0


def graph(plan: table.Plan, stays: Mapping[str, Stay], steps: Sequence[tuple[str, str]], here: str | None) -> Graph:
    """Return the drawing of a plan; `steps` are the pairs of states that the sector has gone."""
    order = {state.value: number for number, state in enumerate(plan.steps)}
    nodes = [
        Node(
            state=state,
            stage=plan.stage_of(plan_state),
            x=_LEFT,
            y=_TOP + number * STEP,
            here=state == here,
            visits=stays.get(state, Stay()).visits,
            failures=stays.get(state, Stay()).failures,
            seconds=stays.get(state, Stay()).seconds,
            stayed_seconds=stays.get(state, Stay()).stayed_seconds,
        )
        for number, (plan_state, state) in enumerate((state, state.value) for state in plan.steps)
    ]
    taken = set(steps)
    edges = [
        Edge(
            event=event,
            source=source.value,
            target=target.value,
            path=_line(order[source.value], order[target.value]),
            taken=(source.value, target.value) in taken,
        )
        for source, event, target in plan.edges()
        if target.value in order
    ]
    return Graph(width=WIDTH, height=_TOP * 2 + len(nodes) * STEP - (STEP - NODE_HEIGHT), nodes=nodes, edges=edges)


def _line(source: int, target: int) -> str:
    middle = _LEFT + NODE_WIDTH // 2
    if target == source + 1:
        return f"M{middle} {_TOP + source * STEP + NODE_HEIGHT}V{_TOP + target * STEP - 2}"
    side = _LEFT + NODE_WIDTH
    begin, end = (_TOP + number * STEP + NODE_HEIGHT // 2 for number in (source, target))
    out = min(side + _ARC + _ARC_STEP * min(abs(target - source), 6), WIDTH - 4)
    return f"M{side} {begin}C{out} {begin} {out} {end} {side + 2} {end}"


def ring(count: int, outer: float = 100.0, inner: float = 66.0) -> list[str]:
    """Return the SVG paths of so many segments of a ring around the origin, clockwise from the top."""
    gap = 0.01
    paths = []
    for number in range(count):
        begin, end = (2 * math.pi * (number + place) / count + shift for place, shift in ((0, gap), (1, -gap)))
        corners = [(begin, outer), (end, outer), (end, inner), (begin, inner)]
        a, b, c, d = (f"{radius * math.sin(angle):.2f} {-radius * math.cos(angle):.2f}" for angle, radius in corners)
        paths.append(f"M{a}A{outer:g} {outer:g} 0 0 1 {b}L{c}A{inner:g} {inner:g} 0 0 0 {d}Z")
    return paths


def steps(values: Sequence[int], width: int, height: int) -> str:
    """Return the SVG path of an area below numbers over time, each as a step, the largest as high as `height`."""
    most, each = max(values, default=0) or 1, width / max(1, len(values))
    path = [f"M0 {height}"]
    for number, value in enumerate(values):
        path.append(f"V{height - height * value / most:.1f}H{(number + 1) * each:.1f}")
    return "".join([*path, f"V{height}Z"])
