"""Scopes, the table, admission by address, and what the guard says."""

import pytest
import structlog.testing

from damocles.methods import rules
from damocles.methods.rules import Scope
from damocles.rpc import callers, errors
from damocles.rpc.admission import access

PEER = "10.0.0.7:40112"


async def knows_nobody(token: str) -> callers.Principal:
    """Fake: knows no token."""
    raise callers.Unidentified("unknown token")


USUAL = frozenset({Scope.WORKER, Scope.READ})


def guard_for(*scopes: Scope, admit: tuple[str, ...] = (), open_routes: frozenset[str] = access.OPEN) -> access.Guard:
    """Return a guard for which every token is one with these scopes."""

    async def identify(token: str) -> callers.Principal:
        return callers.Principal("somebody", frozenset(scopes))

    return access.Guard(
        identify if scopes else knows_nobody,
        help_text="see the manual",
        admission=access.Admission(access.admitted(admit, USUAL), option="--admit {}"),
        open_routes=open_routes,
    )


@pytest.mark.parametrize(
    ("peer", "method", "told"),
    [
        ("127.0.0.1:1", "Venus.WorkerPing", "see the manual"),
        ("[::1]:1", "Venus.WorkerPing", "see the manual"),
        (PEER, "Venus.WorkerPing", "ask its operator for one (auth create NAME --scope worker)"),
        (PEER, "Damocles.FleetAct", "ask its operator for one (auth create NAME --scope operate)"),
        (PEER, "No.Such", "ask its operator for one (auth create NAME)"),
    ],
)
async def test_where_tokens_lie_is_said_on_the_same_machine_alone(peer: str, method: str, told: str) -> None:
    """Strangers from elsewhere learn neither folders nor the name of a user, but whom to ask for what."""
    with pytest.raises(errors.RpcError) as refused:
        await guard_for().authorize(method, "dmc_token", peer)
    assert refused.value.message.endswith(f"; {told}")
    assert ("see the manual" in refused.value.message) is (told == "see the manual")


class TestScopes:
    @pytest.mark.parametrize(
        ("least", "allowed"),
        [
            (Scope.READ, {Scope.READ, Scope.OPERATE, Scope.ADMIN}),
            (Scope.OPERATE, {Scope.OPERATE, Scope.ADMIN}),
            (Scope.ADMIN, {Scope.ADMIN}),
        ],
    )
    def test_they_are_a_ladder_and_worker_is_not_on_it(self, least: Scope, allowed: set[Scope]) -> None:
        """A higher scope may do what a lower one may; a worker's may not, unless the rule says so."""
        assert allowed == {scope for scope in Scope if rules.Rule(least).allows({scope})}
        assert allowed | {Scope.WORKER} == {scope for scope in Scope if rules.Rule(least, worker=True).allows({scope})}

    def test_workers_cannot_manage(self) -> None:
        """A worker's token opens nothing that acts on workers, threads, tokens or the audit."""
        opened = {name for name, rule in access.RULES.items() if rule.allows({Scope.WORKER})}
        managing = ("VenusWorker.", "Damocles.Fleet", "Damocles.Worker", "Damocles.Auth", "Damocles.Audit")
        assert set() == {name for name in opened if name.startswith(managing)}
        assert "Venus.WorkerPing" in opened
        assert "Venus.WorkerPingInfoRemove" not in opened

    def test_readers_change_nothing(self) -> None:
        """What needs read only is no change."""
        assert [] == [name for name, rule in access.RULES.items() if rule.least is Scope.READ and rule.changes]


class TestRoutes:
    def test_a_folder_stands_for_what_is_below_it(self) -> None:
        """A rule that ends in / holds for every path below, and for no other method of HTTP."""
        assert access.RULES["GET /piecestore/"] is access.rule_of("GET /piecestore/bagboea4")
        assert access.rule_of("GET /piecestores") is None
        assert access.rule_of("DELETE /piecestore/bagboea4") is None
        assert access.rule_of("Venus.Nothing") is None

    def test_asking_for_the_head_is_reading(self) -> None:
        """HEAD needs what GET needs."""
        assert "GET /metrics" == access.route("HEAD", "/metrics")

    async def test_open_routes_need_nothing(self) -> None:
        """The health check is for everybody; more can be opened."""
        assert "anyone" == (await guard_for().authorize("GET /healthcheck", None, PEER)).name
        with pytest.raises(errors.RpcError):
            await guard_for().authorize("GET /metrics", None, PEER)
        await guard_for(open_routes=access.OPEN | {"GET /metrics"}).authorize("GET /metrics", None, PEER)


class TestGuard:
    async def test_without_a_token_it_says_what_is_needed(self) -> None:
        """The text names the scope, where tokens are, and how programs without tokens are let in."""
        with pytest.raises(errors.RpcError) as raised:
            await guard_for().authorize("Venus.AllocateSector", None, "127.0.0.1:40112")
        assert errors.Code.UNAUTHORIZED == raised.value.code
        expected = (
            "no token: Venus.AllocateSector needs a token with scope admin or worker; see the manual; programs of the"
            " original cannot send one and are admitted by their address: --admit ADDRESS"
        )
        assert expected == raised.value.message

    async def test_a_wrong_scope_is_named(self) -> None:
        """Who the token belongs to, what it is for and what is needed is in the text."""
        with pytest.raises(errors.RpcError) as raised:
            await guard_for(Scope.READ).authorize("Damocles.FleetAct", "dmc_x", "127.0.0.1:40112")
        assert errors.Code.FORBIDDEN == raised.value.code
        assert "somebody has scope read, Damocles.FleetAct needs operate; see the manual" == raised.value.message

    async def test_what_is_not_in_the_table_is_told_to_the_known_only(self) -> None:
        """Without a token nobody learns whether a method is there."""
        with pytest.raises(errors.RpcError, match=r"Venus\.Nothing needs a token;"):
            await guard_for().authorize("Venus.Nothing", None, PEER)
        with pytest.raises(callers.UnknownMethod):
            await guard_for(Scope.ADMIN).authorize("Venus.Nothing", "dmc_x", PEER)

    async def test_refusals_are_logged_once(self) -> None:
        """A peer that goes on without a token does not fill the log; another peer, method or reason is news."""
        guard = guard_for()
        with structlog.testing.capture_logs() as logs:
            for peer, name, token in [
                ("10.0.0.7:1", "Venus.WorkerPing", None),
                ("10.0.0.7:2", "Venus.WorkerPing", None),
                ("10.0.0.8:1", "Venus.WorkerPing", None),
                ("10.0.0.8:1", "Venus.AllocateSector", None),
                ("10.0.0.8:1", "Venus.AllocateSector", "dmc_secret"),
                ("10.0.0.8:1", "Venus.Nothing1", None),
                ("10.0.0.8:1", "Venus.Nothing2", None),
            ]:
                with pytest.raises(errors.RpcError):
                    await guard.authorize(name, token, peer)
        assert ["10.0.0.7:1", *["10.0.0.8:1"] * 4] == [entry["peer"] for entry in logs]
        assert "secret" not in str(logs)


class TestAdmission:
    @pytest.mark.parametrize("peer", ["10.0.0.7:1", "[::ffff:10.0.0.7]:1", "[fd00::7]:1"])
    async def test_listed_addresses_are_let_in(self, peer: str) -> None:
        """Peers in a listed network need no token, also over a socket for both families."""
        guard = guard_for(admit=("10.0.0.0/24", "fd00::7"))
        principal = await guard.authorize("Venus.AllocateSector", None, peer)
        assert principal.name in {"admitted 10.0.0.7", "admitted fd00::7"}
        with pytest.raises(errors.RpcError) as raised:
            await guard.authorize("Damocles.FleetAct", None, peer)
        assert errors.Code.FORBIDDEN == raised.value.code

    @pytest.mark.parametrize("peer", ["10.0.1.7:1", "127.0.0.1:1", "[::1]:1", "", "nonsense"])
    async def test_others_are_not(self, peer: str) -> None:
        """Loopback is not let in by itself, and what is no address is not either."""
        with pytest.raises(errors.RpcError):
            await guard_for(admit=("10.0.0.0/24",)).authorize("Venus.AllocateSector", None, peer)

    async def test_a_bad_token_is_not_forgiven(self) -> None:
        """A peer that shows a token is judged by it, whatever its address."""
        with pytest.raises(errors.RpcError, match="unknown token"):
            await guard_for(admit=("10.0.0.7",)).authorize("Venus.AllocateSector", "dmc_x", PEER)

    @pytest.mark.parametrize("text", ["10.0.0.0/33", "gpu1", "", "10.0.0.1/24"])
    def test_what_is_no_network_is_refused(self, text: str) -> None:
        """A list with something else in it is an error that says what would do."""
        with pytest.raises(ValueError, match="is neither an address nor a network, like"):
            access.admitted([text], USUAL)

    async def test_an_address_gets_the_scopes_that_are_said_for_it(self) -> None:
        """The closest network counts, for more as well as for less; what is not said is as it always was."""
        guard = guard_for(admit=("10.0.0.0/24", "10.0.0.0/16=worker", "10.0.0.2=read, worker,operate"))
        for peer, scopes in (
            ("10.0.0.7:1", USUAL),
            ("10.0.9.9:1", {Scope.WORKER}),
            ("10.0.0.2:1", {*USUAL, Scope.OPERATE}),
        ):
            principal = await guard.authorize("Venus.AllocateSector", None, peer)
            assert scopes == principal.scopes
        assert "admitted 10.0.0.2" == (await guard.authorize("Venus.WorkerPingInfoRemove", None, "10.0.0.2:1")).name

    @pytest.mark.parametrize(
        ("method", "option"),
        [
            ("Venus.WorkerPingInfoRemove", "--admit 10.0.0.7=read,operate,worker"),
            ("Venus.RemoveSector", "--admit 10.0.0.7=read,admin,worker"),
        ],
    )
    async def test_a_program_without_a_token_is_shown_the_option(self, method: str, option: str) -> None:
        """Advice to use a token is of no use to a program that cannot send one."""
        with pytest.raises(errors.RpcError) as raised:
            await guard_for(admit=("10.0.0.0/24",)).authorize(method, None, PEER)
        assert raised.value.message.endswith(f"; programs without a token may do what their address allows: {option}")
        assert "manual" not in raised.value.message

    @pytest.mark.parametrize(
        ("texts", "said"),
        [
            (["10.0.0.7=operator"], "write scopes like read,operate,admin,worker"),
            (["10.0.0.7="], "write scopes like read,operate,admin,worker"),
            (["10.0.0.7", "10.0.0.7=read"], "10.0.0.7/32 is admitted twice"),
        ],
    )
    def test_scopes_that_are_none_and_addresses_that_come_twice_are_refused(self, texts: list[str], said: str) -> None:
        """Neither may leave open what an address may do."""
        with pytest.raises(ValueError, match=said):
            access.admitted(texts, USUAL)

    def test_it_is_shown_as_it_is_written(self) -> None:
        """The log at the start has who is let in, and what for."""
        shown = [str(peer) for peer in access.admitted(["10.0.0.7", "10.0.0.0/24=admin", "fd00::7=read"], USUAL)]
        assert ["10.0.0.7=read,worker", "10.0.0.0/24=admin", "fd00::7=read"] == shown


@pytest.mark.parametrize(
    ("host", "exposed"),
    [("127.0.0.1", False), ("127.8.8.8", False), ("::1", False), ("localhost", False)]
    + [(host, True) for host in ("", "0.0.0.0", "::", "10.0.0.1", "gpu1")],
)
def test_listening_off_loopback_exposes_tokens(host: str, exposed: bool) -> None:
    """Only loopback and TLS keep tokens from being read on the way."""
    assert exposed is access.exposed(host, tls=False)
    assert not access.exposed(host, tls=True)
