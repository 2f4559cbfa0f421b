"""What can go wrong with a node, by what is to be done.

    NodeError                the call gave no result
    ├── Away                 down, overloaded, or the connection broke: repeat what may be, or ask another node
    │   └── TooSlow          …or it did not answer in time: do not add to its work, ask another node
    ├── NoNode               what answers is no Lotus that we know: wrong address, proxy, version: report it to a person
    ├── BadToken             the node does not accept the token: report it to a person
    ├── Forbidden            the token may not do this: report it to a person (`permission`)
    ├── NoTipSet             the node does not have this tipset: take another view; it says nothing of what was asked
    └── Refused              the node understood and refused: do not repeat unchanged (`exit_code`, if an actor did)
        ├── NotYet           about an epoch that has not come: repeat with the next head
        ├── NotThere         an actor, sector or key is not on the chain at this tipset
        ├── Unseen           the node has never seen this message: push it
        ├── Superseded       another message with its nonce has landed, which does something else
        ├── WouldFail        the message would fail, according to its actor: do not send it
        └── NotTaken         the mempool did not take the message
            ├── Pending      …because it has this very message: that is as good
            ├── NonceUsed    …because a message with the nonce has landed: look which one
            ├── Outbid       …because another message with the nonce waits: pay `premium`, if it is to be replaced
            └── TooCheap     …because it cannot pay for its gas: estimate again

Nearly all of Lotus' errors have the code 1 and differ only in their texts, which are therefore what is compared.
"""

import re
from collections.abc import Callable
from http import HTTPStatus

from damocles.chain import exits
from damocles.rpc import errors as rpc


class NodeError(Exception):
    """A call to a node gave no result; `str()` names the node and the next step."""


class Away(NodeError):
    """A node gives no answer now; the call may have had its effect."""


class TooSlow(Away):
    """A node did not answer in time."""


class NoNode(NodeError):
    """What answers at an address is no node that we can talk to."""


class BadToken(NodeError):
    """A node does not accept our token."""


class Forbidden(NodeError):
    """Our token, or none, may not call a method; `permission` is what it lacks."""

    def __init__(self, url: str, permission: str, text: str) -> None:
        super().__init__(
            f"{url}: {text}: make a token with `lotus auth create-token --perm {permission}`, and put it into the token file"
        )
        self.permission = permission


class NoTipSet(NodeError):
    """The node does not have the tipset at which it was asked."""

    def __init__(self, url: str, method: str, text: str) -> None:
        super().__init__(_refusal(url, method, text))


class Refused(NodeError):
    """A node refused a call; `text` is its reason, in lines, and `exit_code` the actor's if one is named."""

    def __init__(self, url: str, method: str, text: str) -> None:
        super().__init__(_refusal(url, method, text))
        self.text = text
        self.exit_code = exits.code_in(text)


class NotYet(Refused):
    """The epoch that is asked for has not come."""


class NotThere(Refused):
    """What is asked for is not on the chain at this tipset."""


class Unseen(Refused):
    """The node has never seen the message."""


class Superseded(Refused):
    """Another message of the same sender and nonce has landed, which does something else."""


class WouldFail(Refused):
    """A message would fail."""


class NotTaken(Refused):
    """The mempool did not take a message."""


class Pending(NotTaken):
    """The mempool has this very message."""


class NonceUsed(NotTaken):
    """The nonce is below that of the sender on the chain."""


class TooCheap(NotTaken):
    """Gas limit, fee cap or balance do not suffice."""


class Outbid(NotTaken):
    """Another message with the nonce is pending; `premium` is what the next one has to pay, in attoFIL per unit of gas."""

    def __init__(self, url: str, method: str, text: str) -> None:
        super().__init__(url, method, text)
        found = _PREMIUM.search(text)
        self.premium = int(found[1]) if found else None


def _refusal(url: str, method: str, text: str) -> str:
    return f"{url} refuses {method}: {' | '.join(line.strip() for line in text.splitlines())}"


_PREMIUM = re.compile(r"increase GasPremium to (\d{1,30})")
_PERMISSION = re.compile(r"missing permission to invoke '\w+' \(need '(\w+)'\)")

# In this order; words of Lotus v1.36.
_WORDS: tuple[tuple[str, Callable[[str, str, str], NoTipSet | Refused]], ...] = (
    ("message with nonce already exists", Pending),
    ("message nonce too low", NonceUsed),
    ("replace by fee has too low GasPremium", Outbid),
    (r"gas fee cap too low|'GasLimit' field|not enough funds", TooCheap),
    ("failed to load message", Unseen),
    ("NOT a valid replacement message", Superseded),
    ("draw randomness from the future|greater than start point", NotYet),
    ("beacon entry request returned error", NotYet),
    ("too early to prove sector|must be less than the current epoch", NotYet),
    ("(?:load|loading) tipset.*could not find", NoTipSet),
    ("actor not found|failed to find actor|actor code is not|not found on chain|address not found", NotThere),
    ("failed to find sector|can't find sector|not due at any deadline|invalid deadline", NotThere),
    (r"exit=\[|execution reverted|message execution failed", WouldFail),
    ("verify msg failed|signature verification failed|already in mpool", NotTaken),
)
_KINDS = tuple((re.compile(words), kind) for words, kind in _WORDS)

# Answers of proxies before a node that is down, slow, or has too many callers.
_OF_PROXIES = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


def of(error: rpc.CallError, url: str, method: str) -> NodeError:
    """Return what an error of a call means."""
    match error:
        case rpc.RpcError():
            return _of_answer(error, url, method)
        case rpc.Untrusted() | rpc.Unknowing():
            return NoNode(str(error))
        case rpc.BadAnswer(status=HTTPStatus.UNAUTHORIZED):
            return BadToken(f"{url} does not accept our token (HTTP 401): put a token of this node into the token file")
        case rpc.BadAnswer(status=status) if status in _OF_PROXIES:
            return Away(f"{url} is not to be had now: HTTP {status}; is Lotus running behind it?")
        case rpc.TimedOut():
            return TooSlow(str(error))
        case rpc.BadAnswer():
            return NoNode(f"{error}; expected the JSON-RPC of Lotus, like http://127.0.0.1:1234/rpc/v1")
        case _:
            return Away(str(error))


def _of_answer(error: rpc.RpcError, url: str, method: str) -> NodeError:
    text = error.message
    if found := _PERMISSION.search(text):
        return Forbidden(url, found[1], text)
    match error.code:
        case rpc.Code.METHOD_NOT_FOUND:
            return NoNode(f"{url} has no {method}: {text}; Lotus v1.36 or later is needed")
        case rpc.Code.INVALID_PARAMS | rpc.Code.PARSE | rpc.Code.INVALID_REQUEST:
            return NoNode(f"{url} does not understand {method}: {text}; its API is another than this damocles knows")
    for words, kind in _KINDS:
        if words.search(text):
            return kind(url, method, text)
    return Refused(url, method, text)
