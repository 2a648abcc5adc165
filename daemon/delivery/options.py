"""What an operator can set about any sink's delivery: the common part of `[sinks.NAME]`."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from forebay.sinks.units import Duration

_Positive = Annotated[Duration, Field(gt=timedelta(0))]
"""Without any wait a sink that fails would be asked again at once, for ever."""


class Start(StrEnum):
    """Where a new sink begins."""

    OLDEST = "oldest"
    NOW = "now"


class Order(StrEnum):
    """Whether events go out in the order of their `seq`."""

    STRICT = "strict"
    NONE = "none"


class BatchOptions(BaseModel):
    """The `[sinks.NAME.batch]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_events: Annotated[int, Field(ge=1)] = Field(
        default=10_000, description="A batch of this many events is sent at once."
    )
    max_bytes: Annotated[ByteSize, Field(ge=1)] = Field(
        default=ByteSize(4 * 1024**2), description="A batch of this size is sent at once."
    )
    linger: Duration = Field(
        default=timedelta(seconds=2),
        description="How long the first event of a batch waits for company.",
    )


class RetryOptions(BaseModel):
    """The `[sinks.NAME.retry]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: _Positive = Field(
        default=timedelta(milliseconds=500),
        description="Bound of the first random wait; it doubles with each attempt (full jitter). "
        "`Retry-After` from the sink wins, however long.",
    )
    cap: _Positive = Field(default=timedelta(seconds=60), description="Bound of every random wait.")
    max_attempts: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="After this many attempts a batch goes to the dead letters; 0 tries until it "
        "is delivered.",
    )


class BreakerOptions(BaseModel):
    """The `[sinks.NAME.breaker]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: Annotated[int, Field(ge=1)] = Field(
        default=5, description="Consecutive failures after which nothing but probes is sent."
    )
    open_for: _Positive = Field(
        default=timedelta(seconds=30),
        description="How long the breaker (or a hold) waits before one probe; doubles each time.",
    )
    open_cap: _Positive = Field(
        default=timedelta(minutes=10), description="Bound of the doubling wait between probes."
    )


class DeliveryOptions(BaseModel):
    """What every `[sinks.NAME]` table has beside the options of its type."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("*",), description="Streams to deliver, as globs."
    )
    start: Start = Field(
        default=Start.OLDEST,
        description="Where a sink that is new to the buffer begins: with the oldest event that is "
        "still there, or with the next one.",
    )
    order: Order = Field(
        default=Order.STRICT,
        description="`strict`: in the order of `seq`, one batch in flight. `none`: several at "
        "once, as many as the sink takes well, up to `max_in_flight`.",
    )
    partition_by: str = Field(
        default="",
        description="A field (dots lead into objects): events with the same value stay in order, "
        "others may overtake each other, in up to `max_in_flight` lanes. The lanes of a batch are "
        'settled together: a crash before that repeats the whole batch. "" does not partition.',
    )
    max_in_flight: Annotated[int, Field(ge=1)] = Field(
        default=16,
        description='With `order = "none"` or `partition_by`: the most batches in flight.',
    )
    timeout: _Positive = Field(
        default=timedelta(seconds=30), description="How long one send may take."
    )
    batch: BatchOptions = Field(default_factory=BatchOptions, description="How batches form.")
    retry: RetryOptions = Field(default_factory=RetryOptions, description="How failures repeat.")
    breaker: BreakerOptions = Field(
        default_factory=BreakerOptions, description="When sends stop, and when they probe."
    )

    @model_validator(mode="after")
    def _one_order(self) -> Self:
        if self.partition_by and self.order is Order.NONE:
            raise ValueError('partition_by keeps an order: leave order = "none" out')
        return self
