"""Blocks that a manager's miners have won, as operators see them. Ours: keys are snake_case."""

import msgspec


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A round that was won: how far its block is (`won`, `signing`, `signed`, `submitted`, `included`, `lost`), and why it is lost.

    `seconds` is how long each step took (`elect`, `prove`, `gather`, `sign`, `submit`), `handed_in` how many seconds after its epoch began the
    block was handed in, which is in time below `spread_seconds` of the miner. `won_at` is in unix seconds.
    """

    miner: int
    epoch: int
    stage: str
    wins: int
    sectors: list[int]
    won_at: float
    base_epoch: int | None
    cid: str | None
    seconds: dict[str, float]
    handed_in: float | None
    why: str


class Mining(msgspec.Struct, frozen=True, kw_only=True):
    """A miner that takes part in elections.

    `drawn` are elections since the manager runs, `expected_a_day` the wins of a day on average by its share of the power now. `warm` is how long a winning PoSt
    on trial took, in seconds; `lacking` is what keeps the miner from making blocks, `why` what came of the last round that was not won.
    """

    miner: int
    epoch: int
    drawn: int
    expected_a_day: float
    budget_seconds: float
    spread_seconds: float
    warm: float | None
    lacking: list[str]
    why: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """The miners that take part in elections, and the last rounds that were won, the newest first."""

    miners: list[Mining]
    blocks: list[Block]
