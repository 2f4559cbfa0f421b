"""Names of tokens: none passes for another in the audit, and those of older releases are still in the lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.rpc.admission.conftest import MemoryShelf

from damocles.manager.serving import auth
from damocles.methods.rules import Scope
from damocles.rpc import address, core, errors
from damocles.rpc.admission import keyring, token_names, tokens
from damocles.text import terminal

LOOK_ALIKES = [
    "manager",
    "Manager",
    "the daemon",
    "THE-DAEMON",
    "l0ca1",
    "local",
    "local-worker",
    "anyone",
    "admitted 10.0.0.1",
    "Admitted 10.0.0.1",
    "10.0.0.1",
    "alice via manager",
    "via manager",
    "store 77",
    "nobody",
]
NO_NAMES = [
    " alice",
    "alice ",
    "ali  ce",
    "ali\tce",
    "alice\n",
    "\x1b[31malice",
    "al\u200bice",  # a space of no width
    "\u202eecila",  # read from the right
    "al\u0456ce",  # a Cyrillic letter
    "alice\u3164",  # a letter that is not seen
    "alic\u0065\u0301",  # an accent of its own
    "alice\u00a0x",
    "(alice)",
    "alice\x00",
    "-",
]


@pytest.fixture
def shelf() -> MemoryShelf:
    """Where tokens are kept."""
    return MemoryShelf()


@pytest.fixture
def api(shelf: MemoryShelf) -> keyring.TokenAPI:
    """The API of either daemon."""
    return keyring.TokenAPI(keyring.Keyring(shelf))


async def refusal(api: keyring.TokenAPI, name: str) -> str:
    """Return what is answered to somebody who wants a token with this name."""
    with pytest.raises(errors.RpcError) as refused:
        await api.create(core.Call(principal="bob"), name, Scope.READ)
    assert errors.Code.INVALID_PARAMS == refused.value.code
    return refused.value.message


@pytest.mark.parametrize("name", LOOK_ALIKES)
async def test_whom_the_daemons_write_down_nobody_is_called(
    api: keyring.TokenAPI, shelf: MemoryShelf, name: str
) -> None:
    """What the audit has for the manager, an address or somebody who was passed on is the name of no token."""
    assert f"{name!r} would look like somebody else in the audit: choose another name" == await refusal(api, name)
    assert {} == shelf.kept


@pytest.mark.parametrize("name", NO_NAMES)
async def test_a_name_is_what_it_looks_like(api: keyring.TokenAPI, shelf: MemoryShelf, name: str) -> None:
    """Blanks at the ends, letters of other scripts and what cannot be seen are refused, in one line that shows them."""
    said = await refusal(api, name)
    assert said.startswith(f"{name!a} cannot be the name of a token: ")
    assert said.isprintable()
    assert said.isascii()
    assert {} == shelf.kept


async def test_a_long_name_is_refused_without_being_repeated(api: keyring.TokenAPI) -> None:
    """A list stays a list."""
    assert "the name of a token has at most 64 characters, not 5000" == await refusal(api, "a" * 5000)


@pytest.mark.parametrize("name", ["alice", "a", "7", "alice.b", "ci@gpu-1", "viaduct", "a read", "Grafana 2", "a" * 64])
async def test_ordinary_names_are_taken(api: keyring.TokenAPI, name: str) -> None:
    """What people call themselves and their programs."""
    made = await api.create(core.Call(principal="bob"), name, Scope.READ)
    assert name == made.token.name


@pytest.mark.parametrize("name", [*LOOK_ALIKES, *NO_NAMES, "a" * 5000])
async def test_names_of_older_releases_are_listed_and_revoked(
    api: keyring.TokenAPI, shelf: MemoryShelf, name: str
) -> None:
    """A token that was made before is still found by its name."""
    old = keyring.keep(tokens.mint(), name=name, scope=Scope.READ, now=1.0, by="bob")
    await shelf.add(old)
    assert [name] == [token.name for token in await api.list_all()]
    assert [name] == [token.name for token in await api.revoke(core.Call(principal="bob"), name)]


def test_the_daemons_own_names_are_among_them() -> None:
    """Whatever tokens the daemons make for themselves, nobody else can make one of that name."""
    for name in (keyring.OWN_NAME, auth.WORKER_NAME, "manager"):
        assert "would look like somebody else" in token_names.refusal(name)


@given(st.text(max_size=70))
def test_a_name_that_is_taken_is_shown_as_it_is(name: str) -> None:
    """Whatever is taken has nothing to escape on a terminal, and is no address."""
    if not token_names.refusal(name):
        assert name == terminal.shown(name)
        assert name.isascii()
        assert name == name.strip()
        assert address.ip_of(name) is None
