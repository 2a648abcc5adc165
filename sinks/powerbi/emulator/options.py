"""What can be set about the emulator; the defaults are Power BI's documented limits.

Source of the limits: Microsoft's page on push semantic models' limitations. Where Microsoft
documents nothing, there is a switch, and its description says so.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr

from forebay.sinks.powerbi.emulator.columns import ColumnType
from forebay.sinks.units import Duration

PositiveDuration = Annotated[Duration, Field(gt=timedelta(0))]
Schema = dict[str, ColumnType]


class Retention(StrEnum):
    """Which rows a table keeps."""

    NONE = "none"
    FIFO = "fifo"


class BadRow(StrEnum):
    """What one bad row does to its POST."""

    REFUSE_ALL = "refuse_all"
    STORE_GOOD = "store_good"
    SKIP = "skip"


class UnknownColumn(StrEnum):
    """What becomes of a field that the table's schema does not name."""

    REFUSE = "refuse"
    IGNORE = "ignore"


class LongString(StrEnum):
    """What becomes of a string above the limit."""

    REFUSE = "refuse"
    CUT = "cut"


class Sequence(StrEnum):
    """What a repeated or lower X-PowerBI-PushData-SequenceNumber does."""

    UNSUPPORTED = "unsupported"
    IGNORE = "ignore"
    REJECT = "reject"
    DEDUPLICATE = "deduplicate"


class EmulatorOptions(BaseModel):
    """The emulator's settings. A limit of 0 is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int = Field(
        default=120, ge=0, description="POSTs of rows per minute and dataset; 0 is no limit."
    )
    requests_per_hour_large: int = Field(
        default=120,
        ge=0,
        description="POSTs of rows per hour and dataset once one of its tables is large; "
        "0 is no limit.",
    )
    large_table_rows: int = Field(
        default=250_000, ge=1, description="From how many rows on a table is large."
    )
    rows_per_hour: int = Field(
        default=1_000_000, ge=0, description="Rows per hour and dataset; 0 is no limit."
    )
    pending: int = Field(default=5, ge=0, description="POSTs under way per dataset; 0 is no limit.")
    rows_per_request: int = Field(
        default=10_000, ge=0, description="Rows in one POST; 0 is no limit."
    )
    bytes_per_request: ByteSize = Field(
        default=ByteSize(16_000_000), description="Bytes of one body, like 16MB; 0 is no limit."
    )
    push_url_per_second: int = Field(
        default=0,
        ge=0,
        description="POSTs per second to the push URL of a dataset; 0 is no limit. Microsoft "
        'prints "1 request" without a unit; that it is a second is inferred.',
    )
    minute: PositiveDuration = Field(
        default=timedelta(minutes=1),
        description="How long a minute is for `requests_per_minute`; shorter for rehearsals.",
    )
    hour: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="How long an hour is for the limits per hour; shorter for rehearsals.",
    )

    retention: Retention = Field(
        default=Retention.NONE,
        description="`none` keeps rows up to `max_rows`, `fifo` the newest `fifo_rows`; for "
        "datasets that were not created with a policy of their own.",
    )
    max_rows: int = Field(
        default=5_000_000, ge=1, description="Rows that a table without retention can hold."
    )
    fifo_rows: int = Field(
        default=200_000, ge=1, description="Rows that a FIFO table keeps when it drops the oldest."
    )
    fifo_slack: int = Field(
        default=10_000, ge=0, description="Rows above `fifo_rows` that a FIFO table may reach."
    )
    columns: int = Field(
        default=75, ge=1, description="Columns of a table, and fields of a row without a schema."
    )
    string_length: int = Field(
        default=4_000, ge=1, description="Characters of a string value; see `long_string`."
    )
    check_rows: bool = Field(
        default=True,
        description="Look into every row; off, for load tests, rows are counted and stored only.",
    )

    tenant: str | None = Field(default=None, description="The only tenant accepted; unset: any.")
    client_id: str | None = Field(default=None, description="The only client accepted; unset: any.")
    client_secret: SecretStr | None = Field(
        default=None, description="The only client secret accepted; unset: any."
    )
    push_key: SecretStr | None = Field(
        default=None, description="The only `key` accepted in push URLs; unset: any."
    )
    token_lifetime: PositiveDuration = Field(
        default=timedelta(seconds=3599), description="How long a token is good for."
    )
    datasets: dict[str, dict[str, Schema | None]] = Field(
        default_factory=dict,
        description="Known datasets: {dataset: {table: {column: type}}}; null instead of the "
        "columns takes any column.",
    )
    strict_datasets: bool = Field(
        default=False,
        description="Answer 404 for unknown datasets and tables instead of creating them on use.",
    )
    allow_creation: bool = Field(
        default=True,
        description="Whether datasets can be created; Microsoft ends that on 31 October 2027.",
    )
    latency: Duration = Field(
        default=timedelta(0), description="How much later a POST of rows is answered."
    )

    bad_row: BadRow = Field(
        default=BadRow.REFUSE_ALL,
        description="Documented nowhere: what a bad row does to its POST. `refuse_all`: 400 and "
        "nothing stored; `store_good`: 400 and the others stored; `skip`: 200 and the others "
        "stored.",
    )
    long_string: LongString = Field(
        default=LongString.REFUSE,
        description="Documented nowhere: whether a string above `string_length` makes its row "
        "bad (`refuse`) or is shortened (`cut`).",
    )
    unknown_column: UnknownColumn = Field(
        default=UnknownColumn.REFUSE,
        description="Documented nowhere: whether a field that the schema does not name makes its "
        "row bad (`refuse`) or is kept unseen (`ignore`).",
    )
    sequence: Sequence = Field(
        default=Sequence.IGNORE,
        description="Documented nowhere: what a repeated or lower sequence number does. "
        "`ignore`: stored again; `reject`: 400; `deduplicate`: 200 and not stored; "
        "`unsupported`: numbers are neither looked at nor kept.",
    )
    too_many_rows_status: int = Field(
        default=413,
        ge=400,
        le=599,
        description="Documented nowhere: the status for more rows in one POST than allowed.",
    )
    full_status: int = Field(
        default=400,
        ge=400,
        le=599,
        description="Documented nowhere: the status once a table without retention is full.",
    )
