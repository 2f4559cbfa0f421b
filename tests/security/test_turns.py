"""Queues that callers share: many slow questions of one token do not hold up those of others."""

import anyio

from damocles.rpc.serving import places, turns


async def test_a_token_holds_up_only_itself() -> None:
    """However many questions a token has, others find their turn; it gets its own answers one after the other."""
    queue, go_on = turns.Turns(2), anyio.Event()
    under_way, answered = list[str](), list[str]()

    async def ask(caller: str | None) -> None:
        places.CALLER.set(caller)
        async with queue.one():
            under_way.append(str(caller))
            if caller == "leaked":
                await go_on.wait()
        answered.append(str(caller))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask, "leaked")
        await anyio.wait_all_tasks_blocked()
        assert 20 == queue.most()
        for caller in ("admin", None, "admin"):
            tasks.start_soon(ask, caller)
        await anyio.wait_all_tasks_blocked()
        assert ["None", "admin", "admin"] == sorted(answered)
        assert 2 == under_way.count("leaked")
        go_on.set()
    assert 23 == len(answered)
    assert 0 == queue.most()


async def test_a_cancelled_question_gives_its_turn_back() -> None:
    """A caller that hangs up while it waits leaves nothing behind."""
    queue = turns.Turns(1)
    places.CALLER.set("leaked")
    async with queue.one():
        with anyio.move_on_after(0) as waiting:
            async with queue.one():
                raise AssertionError("its turn has not come")
        assert waiting.cancelled_caught
    async with queue.one():
        assert 1 == queue.most()
