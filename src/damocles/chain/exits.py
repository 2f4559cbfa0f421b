"""Exit codes of messages in words, with what they mean to a sealing manager.

An actor's refusal costs gas and changes nothing. Exit code 0 often does nothing either: a batch has its failures in
the return value, and a declaration of what is not the case is left out without a word.
"""

import re

OK = 0
OUT_OF_GAS = 7
ILLEGAL_ARGUMENT = 16
NOT_FOUND = 17
FORBIDDEN = 18
INSUFFICIENT_FUNDS = 19
ILLEGAL_STATE = 20
UNREADABLE = 21
NO_SUCH_METHOD = 22

_WORDS = {
    OK: ("Ok", "done; whether it had an effect is in the return value and in the state"),
    1: ("SysErrSenderInvalid", "the sender is no account on the chain"),
    2: ("SysErrSenderStateInvalid", "the sender's nonce or balance does not allow the message"),
    4: ("SysErrIllegalInstruction", "the actor did what none may do"),
    5: ("SysErrInvalidReceiver", "there is no actor at the address"),
    6: ("SysErrInsufficientFunds", "the sender has less than the value of the message"),
    OUT_OF_GAS: ("SysErrOutOfGas", "the gas limit was too low; estimate it again"),
    9: ("SysErrIllegalExitCode", "the actor ended with a code that none may use"),
    10: ("SysFatal", "the node itself failed"),
    11: ("SysErrMissingReturn", "the actor gave no return value"),
    ILLEGAL_ARGUMENT: ("ErrIllegalArgument", "the actor refuses a parameter, also for being late; its text says which"),
    NOT_FOUND: ("ErrNotFound", "a sector, partition or deal is not there, or not any more"),
    FORBIDDEN: ("ErrForbidden", "not by this sender, or not now"),
    INSUFFICIENT_FUNDS: ("ErrInsufficientFunds", "the miner has too little for the deposit or pledge"),
    ILLEGAL_STATE: ("ErrIllegalState", "the sectors are in a state that does not allow it; the chain is not broken"),
    UNREADABLE: ("ErrSerialization", "the actor cannot read the parameters"),
    NO_SUCH_METHOD: ("ErrUnhandledMessage", "the actors of this network have no such method"),
    23: ("ErrUnspecified", "the actor failed without a reason"),
    24: ("ErrAssertionFailed", "the actor contradicts itself"),
    25: ("ErrReadOnly", "a change within a read-only call"),
    26: ("ErrNotPayable", "the method takes no value"),
    # The miner actor's own, about notifications of pieces.
    1003: ("no return data", "the notified actor returned nothing, and was required to accept"),
    1004: ("notification rejected", "the notified actor rejected the piece, and was required to accept"),
}

# The number is the only part of a failed estimate or push that is meant for programs: `exit=[ErrForbidden(18)]`.
_EXIT = re.compile(r"exit=\[(?:\w*\()?(\d{1,10})\)?\]|\(RetCode=(\d{1,10})\)")


def words(code: int) -> str:
    """Return an exit code for people: `exit code 16 (ErrIllegalArgument): …`."""
    if code not in _WORDS:
        return f"exit code {code}: the actor's own; its text says more"
    name, meaning = _WORDS[code]
    return f"exit code {code} ({name}): {meaning}"


def code_in(text: str) -> int | None:
    """Return the exit code that Lotus names in the text of an error, `None` if it names none."""
    match = _EXIT.search(text)
    return int(match[1] or match[2]) if match else None
