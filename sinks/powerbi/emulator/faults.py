"""Failures that a test or a person asks for, as a queue that every request is held against."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = str | int | float | bool | None


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"
    """Answered with `status`, `retry_after` and `body`; nothing is stored."""
    HANG = "hang"
    """Not answered until the faults are cleared; then it goes on as if nothing had been."""
    SLOW = "slow"
    """Stored at once, answered `seconds` later."""
    DROP_ANSWER = "drop_answer"
    """Stored; then the connection is closed without an answer."""
    RESET = "reset"
    """The connection is reset before anything is stored."""
    EXPIRED_TOKEN = "expired_token"  # noqa: S105  a kind of fault
    """All tokens issued so far expire, at once; not held against requests."""
    POISON = "poison"
    """Rows whose fields equal those of `match` are bad: 400 with details."""


class Endpoint(StrEnum):
    """Which requests a fault is for."""

    ROWS = "rows"
    """POSTs of rows, to the API and to push URLs."""
    TOKEN = "token"  # noqa: S105  the token endpoint
    OTHER = "other"


# The fields that belong to one kind only.
_OWN_FIELDS = {
    FaultKind.STATUS: {"status", "retry_after", "body"},
    FaultKind.SLOW: {"seconds"},
    FaultKind.POISON: {"match"},
}
_NEEDED = {FaultKind.STATUS: "status", FaultKind.SLOW: "seconds", FaultKind.POISON: "match"}


class Fault(BaseModel):
    """One fault: its kind, which requests it is for, and for how many of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    count: int | None = Field(
        default=None, ge=1, description="For how many requests; null until cleared."
    )
    endpoint: Endpoint = Field(default=Endpoint.ROWS, description="For which requests.")
    dataset: str | None = Field(default=None, description="Only for this dataset; null for any.")
    table: str | None = Field(default=None, description="Only for this table; null for any.")
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    retry_after: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Retry-After, in seconds; null sends no such header."
    )
    body: Any = Field(default=None, description="Text is sent as it is, anything else as JSON.")
    seconds: Annotated[float, Field(ge=0)] | None = None
    match: dict[str, Scalar] | None = Field(
        default=None, min_length=1, description='Which rows are poison: {"field": value}.'
    )

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> "Fault":
        needed = _NEEDED.get(self.kind)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"a fault of kind {self.kind} needs {needed!r}")
        foreign = set().union(*_OWN_FIELDS.values()) - _OWN_FIELDS.get(self.kind, set())
        for name in sorted(foreign & self.model_fields_set):
            raise ValueError(f"a fault of kind {self.kind} takes no {name!r}")
        return self

    def is_for(self, endpoint: Endpoint, dataset: str | None, table: str | None) -> bool:
        return (
            self.endpoint is endpoint
            and self.dataset in (None, dataset)
            and self.table in (None, table)
        )

    def poisons(self, row: dict[str, Any]) -> bool:
        """Whether `row` has every field of `match`, with that value."""
        return all(name in row and row[name] == value for name, value in (self.match or {}).items())


class Faults:
    """The faults asked for, oldest first.

    A request meets the first fault that is for it. Poison stands apart: it is about rows, so it
    works beside the others, and its `count` is used up by requests that carry poison.
    """

    def __init__(self) -> None:
        self._left: list[tuple[Fault, int | None]] = []

    def __repr__(self) -> str:
        left = [f"{fault.kind} {count or 'always'}" for fault, count in self._left]
        return f"Faults({', '.join(left)})"

    def add(self, fault: Fault) -> None:
        self._left.append((fault, fault.count))

    def clear(self) -> None:
        self._left.clear()

    def listed(self) -> list[tuple[Fault, int | None]]:
        """Each fault, with the number of requests it is still for."""
        return list(self._left)

    def take(self, endpoint: Endpoint, dataset: str | None, table: str | None) -> Fault | None:
        """The fault that this request meets, used up by one; None when it meets none."""
        return self._take(
            lambda fault: (
                fault.kind is not FaultKind.POISON and fault.is_for(endpoint, dataset, table)
            )
        )

    def poisons(self, dataset: str, table: str) -> list[Fault]:
        """The poison that rows of this table are held against."""
        return [
            fault
            for fault, _ in self._left
            if fault.kind is FaultKind.POISON and fault.is_for(Endpoint.ROWS, dataset, table)
        ]

    def bite(self, poison: Fault) -> None:
        """A request carried `poison`."""
        self._take(lambda fault: fault is poison)

    def _take(self, meets: Callable[[Fault], bool]) -> Fault | None:
        for position, (fault, left) in enumerate(self._left):
            if meets(fault):
                if left == 1:
                    del self._left[position]
                elif left is not None:
                    self._left[position] = (fault, left - 1)
                return fault
        return None
