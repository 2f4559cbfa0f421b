"""Tries what a helper would do, and says what is in its way: `python -m damocles.stages.far.check`, for `damocles-worker ray status`.

Takes the group as the helper does; prints one line, and ends with 0 if nothing is in the way.
"""

import os
import sys

import anyio
import msgspec

from damocles.stages.far import attempts, cluster, settings, shares

_SECONDS = 90.0


async def found(group: settings.Group) -> tuple[bool, str]:
    """Join, take a place, and read the probes; return whether all is well, and one line about it."""
    news = anyio.Event()
    there = cluster.Cluster(group, lambda: news.set() if there.is_refused and there.why else None)
    outcome: tuple[bool, str] | None = None
    with anyio.move_on_after(_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def refused() -> None:
                nonlocal outcome
                await news.wait()
                outcome = (False, there.why)
                tasks.cancel_scope.cancel()

            tasks.start_soon(refused)
            tasks.start_soon(there.run)
            slot = await there.slot()
            problem = await shares.unshared(group, slot, writes=attempts.writes(group.stage))
            outcome = (problem is None, problem or f"ok: {group.about} on {slot.host}")
            slot.place.close()
            tasks.cancel_scope.cancel()
    return outcome or (False, f"nothing has come of it within {_SECONDS:g}s: {there.why}")


def main() -> None:
    """Print what is found."""
    group = msgspec.json.decode(os.environ.pop(settings.VARIABLE), type=settings.Group)
    is_well, line = anyio.run(found, group)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    os._exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
