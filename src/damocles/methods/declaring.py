"""How a method is declared, and how one is called.

    @declared("VenusWorker.WorkerResume", rules.OPERATE)
    def resume(index: int, state: str | None = None, /) -> bool:
        'Resume a paused thread; false if it is not paused.'

    service.add(resume, handler)              # by the program that serves it
    resumed = client.call(resume(3, "PC1"))   # by a caller: `resumed` is a bool

The signature is the whole declaration: its positional parameters are those of the wire, their annotations determine how they
are decoded, defaults make trailing ones optional. What is returned is the result as a caller reads it, so that it is
`X | None` where the original's programs answer null.
"""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from damocles.methods.rules import Rule

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

OURS = "Damocles."  # begins the names of methods that the original's programs do not know


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A call to make: the method's name on the wire, its parameters, and the type of its result (None: none).

    One of a declared method is made by calling that; only what other programs declare is named here.
    """

    method: str
    params: tuple[Any, ...] | list[Any]
    returns: "TypeForm[T]"

    @property
    def is_ours(self) -> bool:
        """Whether the original's programs do not know the method."""
        return self.method.startswith(OURS)

    def read_as(self, kind: "TypeForm[U]") -> "Ask[U]":
        """Return the same call with a result of which less, or more, is read."""
        return Ask(self.method, self.params, kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[P, T]):
    """A method under its wire name; made by `declared`.

    `parameters` and `kinds` are the names and types of its parameters, the first `least` are required. `has_result` is
    false for the manager's methods that return only an error: their answer has no `result`. Without a `rule` nobody but
    a service without a guard serves it. `about` is the text of its declaration.
    """

    name: str
    rule: Rule | None = None
    parameters: tuple[str, ...]
    kinds: tuple[Any, ...]
    least: int
    returns: Any
    has_result: bool = True
    about: str = ""

    def __call__(self, *args: P.args, **_: P.kwargs) -> Ask[T]:
        """Return a call of this method. Parameters that are left out do not travel."""
        return Ask(self.name, args, self.returns)

    def misfit(self, handler: "Method[..., Any]") -> str | None:
        """Return why something that is described so cannot serve the method; nothing if it can."""
        if len(handler.kinds) != len(self.kinds) or handler.least > self.least:
            takes, gets = _counts(handler.least, handler.kinds), _counts(self.least, self.kinds)
            return f"its handler takes {takes} parameters, declared are {gets}"
        for name, own, wanted in zip(self.parameters, handler.kinds, self.kinds, strict=True):
            if own != wanted:
                return f"its handler takes {own} for {name}, declared is {wanted}"
        given = _options(handler.returns)
        if Any not in given and not given <= _options(self.returns):
            return f"its handler returns {handler.returns}, declared is {self.returns}"
        return None


def declared(
    name: str, rule: Rule | None = None, *, has_result: bool = True
) -> Callable[[Callable[P, T]], Method[P, T]]:
    """Declare the method that has the decorated function's signature.

    Raises:
        TypeError: A parameter is not positional, or has no type.
    """

    def declare(signature: Callable[P, T]) -> Method[P, T]:
        return described(name, signature, rule, has_result=has_result)

    return declare


def described(
    name: str, signature: Callable[P, T], rule: Rule | None = None, *, has_result: bool = True, skipped: int = 0
) -> Method[P, T]:
    """Return the method that a signature describes, without its first `skipped` parameters.

    Raises:
        TypeError: A parameter is not positional, or has no type.
    """
    whole = inspect.signature(signature, eval_str=True)
    parameters = list(whole.parameters.values())[skipped:]
    for parameter in parameters:
        if parameter.kind not in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            raise TypeError(f"{name}: parameter {parameter.name} of its handler or declaration is not positional")
        if parameter.annotation is parameter.empty:
            raise TypeError(f"{name}: parameter {parameter.name} of its handler or declaration has no type")
    return Method(
        name=name,
        rule=rule,
        parameters=tuple(parameter.name for parameter in parameters),
        kinds=tuple(parameter.annotation for parameter in parameters),
        least=sum(parameter.default is parameter.empty for parameter in parameters),
        returns=whole.return_annotation,
        has_result=has_result,
        about=inspect.getdoc(signature) or "",
    )


def _counts(least: int, kinds: Sequence[Any]) -> str:
    return str(least) if least == len(kinds) else f"{least} to {len(kinds)}"


def _options(kind: Any) -> set[Any]:
    """Return what a type is a choice of: one thing, unless it is a union."""
    is_union = typing.get_origin(kind) in {typing.Union, types.UnionType}
    return set(typing.get_args(kind)) if is_union else {type(None) if kind is None else kind}
