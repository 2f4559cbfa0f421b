"""A clock that is set forward or back gives nobody more than they had, and hides nothing of what was done."""

import time

import pytest
from tests.integration.access.conftest import StartManager
from tests.unit.rpc.admission.conftest import Clock, MemoryShelf

from damocles.methods.rules import Scope
from damocles.rpc import callers
from damocles.rpc.admission import audit, keyring
from damocles.wire import control

DAY = 86400.0


@pytest.mark.parametrize("jump", [-DAY, DAY, -400 * DAY, 400 * DAY, -30.0, 30.0])
async def test_what_is_revoked_stays_so(jump: float) -> None:
    """A revoked token is good for nothing, whatever the clock says, here and with whoever else has the same shelf."""
    clock, shelf = Clock(), MemoryShelf()
    here, there = (keyring.Keyring(shelf, clock, fresh_seconds=10.0) for _ in range(2))
    _, text = await here.create("alice", Scope.ADMIN, None, "bob")
    await there.load()
    assert "alice" == (await there.identify(text)).name
    clock.now += jump
    await here.revoke("alice")
    for ring in (here, there):
        with pytest.raises(callers.Unidentified, match="was revoked"):
            await ring.identify(text)


async def test_what_expires_is_good_for_no_longer_by_a_jump_forward() -> None:
    """A clock set forward ends a token early; set right again, the token is what it was."""
    clock, shelf = Clock(), MemoryShelf()
    ring = keyring.Keyring(shelf, clock)
    _, text = await ring.create("alice", Scope.READ, DAY, "bob")
    clock.now += 2 * DAY
    with pytest.raises(callers.Unidentified, match="has expired"):
        await ring.identify(text)
    clock.now -= 2 * DAY
    assert "alice" == (await ring.identify(text)).name


async def test_a_use_after_a_jump_back_is_noted() -> None:
    """The last use is the last one, also when the clock says that it was before the one before."""
    clock, shelf = Clock(), MemoryShelf()
    ring = keyring.Keyring(shelf, clock)
    kept, text = await ring.create("alice", Scope.READ, None, "bob")
    await ring.identify(text)
    clock.now -= DAY
    await ring.identify(text)
    assert clock.now == shelf.kept[kept.id].used


async def test_the_audit_keeps_its_order(start_manager: StartManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries have the order in which they were made, by their numbers, and none is lost when the clock is set back."""
    names, began = ["first", "second", "third"], time.time()
    async with start_manager() as manager:

        async def entries(**query: float) -> list[control.AuditEntry]:
            asked = control.AuditQuery(**query)  # type: ignore[arg-type]
            found: list[control.AuditEntry] = await manager.call(
                "Damocles.AuditList", asked, returns=list[control.AuditEntry]
            )
            return found

        (auditor,) = [layer for layer in manager.service.layers if isinstance(layer, audit.Audit)]
        for name, jump in zip(names, (0.0, -DAY, DAY), strict=True):
            monkeypatch.setattr(auditor, "_clock", lambda jump=jump: began + jump)
            await manager.create(name, Scope.READ)
        assert names == [entry.params[0] for entry in await entries()]
        assert [began, began - DAY, began + DAY] == [entry.at for entry in await entries()]
        assert ["first", "third"] == [entry.params[0] for entry in await entries(since=began)]
