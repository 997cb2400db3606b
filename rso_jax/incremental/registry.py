"""Registries: functions that say of a primitive what becomes of its operands, by its name."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rso_jax.errors import UserError, did_you_mean
from rso_jax.incremental.lines import line_of

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Entry(Generic[Function]):
    """What is registered for a primitive."""

    function: Function
    before: "_Entry[Function] | None"
    """What it took the place of."""


class Registry(Generic[Function]):
    """Functions ``(eqn, operands) -> result`` of one kind, each registered for some primitives."""

    def __init__(self, kind: str, check: Callable[[Any, Any], None]) -> None:
        """An empty registry.

        Args:
            kind: what messages call such a function, ``"rule"``.
            check: ``check(eqn, result)`` raises an error that says what is wrong with a result.
        """
        self._kind = kind
        self._check = check
        self._entries: dict[str, _Entry[Function]] = {}

    def register(self, *primitives: str, replace: bool = False) -> Callable[[Function], Function]:
        """Register the function that is decorated.

        Args:
            primitives: names as ``jax.make_jaxpr`` prints them.
            replace: whether it may take the place of another.

        Raises:
            UserError: no names, or one that has such a function already without ``replace``.
        """
        if not primitives or not all(isinstance(name, str) for name in primitives):
            raise UserError(
                f"a {self._kind} is registered under names of primitives, such as "
                f"'dot_general'; got {', '.join(map(repr, primitives)) or 'none'}"
            )

        def register(function: Function) -> Function:
            for name in primitives:
                if name in self._entries and not replace:
                    raise UserError(
                        f"{name} has a {self._kind} already, {self._origin(name)}; "
                        "replace=True puts another in its place"
                    )
            for name in primitives:
                self._entries[name] = _Entry(function, self._entries.get(name))
            return function

        return register

    def withdraw(self, *primitives: str) -> None:
        """Take back what was registered last; what it took the place of, if anything, holds again.

        Args:
            primitives: names under which it was registered.

        Raises:
            UserError: a name has no such function; then nothing is taken back.
        """
        for name in primitives:
            if name not in self._entries:
                hint = did_you_mean(name, self._entries)
                raise UserError(f"{name} has no {self._kind}{hint and ': ' + hint.strip()}")
        for name in primitives:
            before = self._entries.pop(name).before
            if before is not None:
                self._entries[name] = before

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A context after which all is as before, whatever is registered or taken back inside."""
        entries = dict(self._entries)
        try:
            yield
        finally:
            self._entries = entries

    def __contains__(self, primitive: str) -> bool:
        return primitive in self._entries

    def __getitem__(self, primitive: str) -> Function:
        return self._entries[primitive].function

    def apply(self, eqn: Any, operands: Sequence[Any], callers: Sequence[Any] = ()) -> Any:
        """What the function of an equation's primitive gives.

        Args:
            eqn: the equation.
            operands: what is known of them.
            callers: equations inside which it is, the innermost first.

        Raises:
            UserError: the function failed, or what it gave is no result of this equation. The
                message names the primitive and the line of the loss.
        """
        name = eqn.primitive.name
        try:
            result = self[name](eqn, operands)
            self._check(eqn, result)
        except Exception as error:
            line = line_of(eqn, callers)
            where = f" at {line} ({line.function})" if line else ""
            raise UserError(
                f"the {self._kind} for {name}, {self._origin(name)}, failed{where}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return result

    def _origin(self, primitive: str) -> str:
        """Name and place of the function."""
        function = inspect.unwrap(self[primitive])
        code = getattr(function, "__code__", None)
        place = f" of {code.co_filename}:{code.co_firstlineno}" if code else ""
        return f"{getattr(function, '__name__', repr(function))}{place}"
