"""Tokens: their text, what is kept of them, how long they are good, and the files that hold them."""

import stat
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import exc

from damocles import durable
from damocles.methods.rules import Scope
from damocles.rpc import callers, core, errors
from damocles.rpc.admission import keyring, tokens

from .conftest import NOW, Clock, MemoryShelf


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


class TestText:
    def test_it_is_random_and_begins_with_its_kind(self) -> None:
        """No two tokens are alike; the prefix lets scanners find one that was published."""
        minted = {tokens.mint() for _ in range(100)}
        assert 100 == len({tokens.id_of(text) for text in minted})
        assert all(text.startswith("dmc_") and len(text) == 59 for text in minted)

    async def test_only_its_hash_is_kept(self, ring: keyring.Keyring, shelf: MemoryShelf) -> None:
        """Neither the text nor the secret part of it is on the shelf."""
        _, text = await ring.create("alice", Scope.READ, None, "bob")
        assert text.removeprefix("dmc_")[12:].encode() not in msgspec.json.encode(list(shelf.kept.values()))


class TestKeyring:
    async def test_a_token_stands_for_its_holder(self, ring: keyring.Keyring) -> None:
        """Who made a token and shows it is known by name and scope."""
        _, text = await ring.create("alice", Scope.OPERATE, None, "bob")
        assert callers.Principal("alice", frozenset({Scope.OPERATE})) == await ring.identify(text)

    @pytest.mark.parametrize("change", ["last", "id", "empty", "blank", "other", "long", "unicode"])
    async def test_what_is_almost_a_token_is_none(self, ring: keyring.Keyring, change: str) -> None:
        """One wrong character, or none at all, and it is unknown; that the id exists is not told."""
        _, text = await ring.create("alice", Scope.OPERATE, None, "bob")
        wrong = {
            "last": text[:-1] + ("A" if text[-1] != "A" else "B"),
            "id": text[:16],
            "empty": "",
            "blank": f" {text}",
            "other": tokens.mint(),
            "long": f"{text}A",
            "unicode": "dmc_\u00e9" * 10,
        }[change]
        with pytest.raises(callers.Unidentified, match=r"^unknown token$"):
            await ring.identify(wrong)

    async def test_a_shelf_that_fails_keeps_nobody_out(
        self, ring: keyring.Keyring, shelf: MemoryShelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When a use cannot be noted, by whatever error of a disk or a database, the token is good all the same."""
        _, text = await ring.create("alice", Scope.READ, None, "bob")

        async def full(_: str, __: float) -> None:
            raise exc.OperationalError("UPDATE", {}, Exception("database or disk is full"))

        monkeypatch.setattr(shelf, "used", full)
        assert "alice" == (await ring.identify(text)).name

    async def test_it_expires(self, ring: keyring.Keyring, clock: Clock) -> None:
        """A token is good up to its last second."""
        _, text = await ring.create("alice", Scope.READ, 60, "bob")
        clock.now = NOW + 59.9
        await ring.identify(text)
        clock.now = NOW + 60
        with pytest.raises(callers.Unidentified, match="'alice' has expired"):
            await ring.identify(text)

    async def test_it_is_revoked_at_once(self, ring: keyring.Keyring) -> None:
        """A revoked token is good for nothing from the next call on."""
        _, text = await ring.create("alice", Scope.READ, None, "bob")
        await ring.revoke("alice")
        with pytest.raises(callers.Unidentified, match="'alice' was revoked"):
            await ring.identify(text)

    async def test_its_use_is_noted_once_a_minute(
        self, ring: keyring.Keyring, clock: Clock, shelf: MemoryShelf
    ) -> None:
        """However often a token is shown, its last use is written once a minute."""
        _, text = await ring.create("alice", Scope.READ, None, "bob")
        for seconds in (0, 1, 59, 60, 61, 200):
            clock.now = NOW + seconds
            await ring.identify(text)
        assert [NOW, NOW + 60, NOW + 200] == shelf.uses

    async def test_another_manager_is_heard_after_a_while(self, shelf: MemoryShelf, clock: Clock) -> None:
        """What another process does to the shelf counts when the memory is not fresh any more, and not before."""
        ours, theirs = keyring.Keyring(shelf, clock, fresh_seconds=10), keyring.Keyring(shelf, clock)
        _, text = await ours.create("alice", Scope.READ, None, "bob")
        await theirs.load()
        await theirs.revoke("alice")
        await ours.identify(text)
        clock.now = NOW + 11
        with pytest.raises(callers.Unidentified, match="revoked"):
            await ours.identify(text)

    async def test_a_lent_token_is_on_no_shelf(self, ring: keyring.Keyring, shelf: MemoryShelf) -> None:
        """What is lent to a peer is good in this process and nowhere written down, nor listed."""
        text = ring.lend("manager", Scope.OPERATE)
        assert callers.Principal("manager", frozenset({Scope.OPERATE})) == await ring.identify(text)
        await ring.load()
        await ring.identify(text)
        assert ({}, []) == (shelf.kept, ring.all())


class TestOwnToken:
    async def test_a_new_file_replaces_the_old_token(self, ring: keyring.Keyring) -> None:
        """When the file of the daemon's own token was made anew, the old text is good for nothing."""
        old, new = tokens.mint(), tokens.mint()
        await ring.adopt(old, "local", Scope.ADMIN)
        await ring.adopt(old, "local", Scope.ADMIN)
        assert 1 == len(ring.all())
        await ring.adopt(new, "local", Scope.ADMIN)
        assert "local" == (await ring.identify(new)).name
        with pytest.raises(callers.Unidentified):
            await ring.identify(old)

    async def test_another_manager_keeps_its_own(self, shelf: MemoryShelf, clock: Clock) -> None:
        """On a shelf of several managers, a new file of one replaces its own old token, and none of the others'."""
        rings = [keyring.Keyring(shelf, clock) for _ in range(2)]
        texts = [tokens.mint() for _ in rings]
        for ring, text, by in zip(rings, texts, ("a", "b"), strict=True):
            await ring.load()
            await ring.adopt(text, "local", Scope.ADMIN, by)
        new = tokens.mint()
        await rings[1].adopt(new, "local", Scope.ADMIN, "b")
        await rings[0].load()
        assert ["local", "local"] == [(await rings[0].identify(text)).name for text in (texts[0], new)]
        with pytest.raises(callers.Unidentified):
            await rings[0].identify(texts[1])

    async def test_a_revoked_one_stays_revoked(self, ring: keyring.Keyring, shelf: MemoryShelf, clock: Clock) -> None:
        """A restart does not bring a revoked token back as long as its file is the same."""
        text = tokens.mint()
        await ring.adopt(text, "local", Scope.ADMIN)
        await ring.revoke("local")
        again = keyring.Keyring(shelf, clock)
        await again.load()
        await again.adopt(text, "local", Scope.ADMIN)
        with pytest.raises(callers.Unidentified, match="revoked"):
            await again.identify(text)


class TestAPI:
    @pytest.fixture
    def api(self, ring: keyring.Keyring) -> keyring.TokenAPI:
        """The API over the keyring."""
        return keyring.TokenAPI(ring)

    async def test_create_list_revoke(self, api: keyring.TokenAPI) -> None:
        """A token is made by somebody, listed without its text, and revoked by name."""
        call = core.Call(principal="bob")
        made = await api.create(call, "alice", Scope.READ, 60.0)
        assert ("alice", "read", "bob", NOW + 60) == (
            made.token.name, made.token.scope, made.token.created_by, made.token.expires,
        )  # fmt: skip
        assert [made.token] == await api.list_all()
        assert [NOW] == [token.revoked for token in await api.revoke(call, "alice")]
        assert [NOW] == [token.revoked for token in await api.list_all()]

    @pytest.mark.parametrize(
        ("name", "seconds", "said"),
        [
            ("", None, "needs a name"),
            (" ", None, "needs a name"),
            ("a\nb", None, "cannot be the name of a token"),
            ("alice", 0.0, "valid for some time"),
            ("alice", -1.0, "valid for some time"),
            ("bob", None, "a token 'bob' already exists"),
            ("local", None, "would look like somebody else"),
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, api: keyring.TokenAPI, ring: keyring.Keyring, name: str, seconds: float | None, said: str
    ) -> None:
        """Tokens need distinct printable names and a time to live, and none can pass for the daemon's own."""
        await ring.adopt(tokens.mint(), "local", Scope.ADMIN)
        await api.create(core.Call(), "bob", Scope.READ)
        with pytest.raises(errors.RpcError, match=said):
            await api.create(core.Call(), name, Scope.READ, seconds)

    @pytest.mark.parametrize(("name", "whose"), [("local", "the daemon's own"), ("bob", "yours")])
    async def test_nobody_is_locked_out_by_mistake(
        self, api: keyring.TokenAPI, ring: keyring.Keyring, name: str, whose: str
    ) -> None:
        """The caller's token and the daemon's are revoked only if that is sure, and the refusal names the way back."""
        own = tokens.mint()
        await ring.adopt(own, "local", Scope.ADMIN)
        await api.create(core.Call(), "bob", Scope.ADMIN)
        call = core.Call(principal="bob")
        with pytest.raises(errors.RpcError, match=f"token '{name}' is {whose}: .*--yes"):
            await api.revoke(call, name)
        assert [name] == [token.name for token in await api.revoke(call, name, sure=True)]
        if name == "local":
            with pytest.raises(callers.Unidentified, match="delete its file and restart the daemon"):
                await ring.identify(own)

    async def test_an_unknown_name_is_told_with_the_known(self, api: keyring.TokenAPI) -> None:
        """Whoever mistypes a name sees which there are."""
        await api.create(core.Call(), "bob", Scope.READ)
        with pytest.raises(errors.RpcError, match="there is no token 'bo'; there are: bob"):
            await api.revoke(core.Call(), "bo")

    async def test_a_second_revoking_says_that_it_is_done(self, api: keyring.TokenAPI) -> None:
        """A token that is listed as revoked is not said to be unknown."""
        await api.create(core.Call(), "bob", Scope.READ)
        await api.revoke(core.Call(), "bob")
        with pytest.raises(errors.RpcError, match="token 'bob' is already revoked"):
            await api.revoke(core.Call(), "bob")


class TestFiles:
    def test_a_missing_file_is_made_private(self, tmp_path: Path) -> None:
        """The file can be read by its owner only, its folder entered by nobody else, and it is made once."""
        file = tmp_path / "home" / "token"
        text = tokens.ensure_file(file)
        assert (0o600, 0o700) == (mode(file), mode(file.parent))
        assert text == tokens.ensure_file(file)
        assert [file] == list(file.parent.iterdir())

    @pytest.mark.parametrize("content", ["", "secret\n", "dmc_a dmc_b\n"])
    def test_a_file_with_something_else_is_refused(self, tmp_path: Path, content: str) -> None:
        """What is no token is not overwritten, and not shown either."""
        file = tmp_path / "token"
        file.write_text(content)
        with pytest.raises(ValueError, match="token holds no token: expected one line that begins with dmc_") as raised:
            tokens.ensure_file(file)
        assert content == file.read_text()
        assert not content.strip() or content.strip() not in str(raised.value)

    def test_a_kill_leaves_the_old_or_the_new(self, tmp_path: Path) -> None:
        """A private file is replaced as a whole, with its mode whatever it was before."""
        file = tmp_path / "file"
        file.write_text("old")
        file.chmod(0o644)
        with file.open() as old:
            durable.replace(file, b"new", private=True)
            assert "old" == old.read()
        assert ("new", 0o600) == (file.read_text(), mode(file))
