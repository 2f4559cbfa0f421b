"""Run tasks beside a block of code, and take their errors apart."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def running(*tasks: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run `tasks` while the block runs, and cancel them at its end.

    An exception of the block comes out as it is, not in the group of a task group, so that callers can tell a used
    address from a defect.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(task)
        try:
            yield
        except Exception as error:  # noqa: BLE001 (raised again below, outside the group)
            failure = error
        finally:
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a group, in groups within it too; of an error that is none, itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
