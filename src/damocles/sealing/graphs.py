"""Draw the plans' tables as diagrams: `python -m damocles.sealing.graphs > docs/reference/plans.md`."""

from damocles.sealing import planner
from damocles.sealing.plans import table as plans

_HEAD = """\
# Plans

What a sealing thread does with a sector, drawn from the tables in `damocles/sealing/`. Every state has a handler; its event
leads to the next state. In any state a thread can be paused, and a failure is retried, pauses the thread, or (level
`Abort`) aborts the sector, which leads to `Aborted`.
"""


def diagram(plan: plans.Plan) -> str:
    """Return a plan as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(plan.steps))}"]
    lines += [f"    {state} --> {target}: {event}" for state, event, target in plan.edges()]
    lines += [f"    {state} --> [*]" for state, step in plan.steps.items() if not step.to]
    return "\n".join(lines)


def table(plan: plans.Plan) -> str:
    """Return a plan as a Markdown table of states, stages and what they need."""
    rows = ["| state | stage | handler | reads | files |", "|---|---|---|---|---|"]
    for state, step in plan.steps.items():
        reads, files = ", ".join(step.needs) or "-", ", ".join(step.files) or "-"
        rows.append(f"| {state} | {step.stage} | `{step.does}` | {reads} | {files} |")
    return "\n".join(rows)


def page() -> str:
    """Return the page of all plans."""
    parts = [_HEAD]
    for name, plan in planner.PLANS.items():
        parts.append(f"## {name}\n\n```mermaid\n{diagram(plan)}\n```\n\n{table(plan)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201, it is what this is for
