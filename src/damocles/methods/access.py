"""Tokens, the audit and the level of the log, which both daemons serve."""

from typing import Literal, TypeAlias

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.methods.rules import Scope
from damocles.wire import control

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


@declared("Damocles.AuthCreate", rules.MINTING)
def create_token(
    name: str, scope: Scope, expires_seconds: control.Seconds | None = None, worker: str | None = None, /
) -> control.NewToken:
    """Make a token; the answer is the only place that ever shows its text. One of scope worker is for that `worker`."""


@declared("Damocles.AuthList", rules.LOOKING_ADMIN)
def list_tokens() -> list[control.Token]:
    """Return all tokens, also those that are no longer valid."""


@declared("Damocles.AuthRevoke", rules.ADMIN)
def revoke_tokens(name: str, sure: bool = False, /) -> list[control.Token]:
    """Revoke the tokens of a name; the caller's and the daemon's own only if that is `sure`."""


@declared("Damocles.AuditList", rules.READ)
def list_audit(query: control.AuditQuery, /) -> list[control.AuditEntry]:
    """Return the first entries that the query asks for, the oldest first, and none only if there are no more."""


@declared("Damocles.LogLevel", rules.OPERATE)
def log_level(level: LogLevel, /) -> LogLevel:
    """Log what is of this level or more, until the daemon ends; return the level before."""
