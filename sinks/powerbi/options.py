"""What an operator can set about a Power BI sink."""

from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from yarl import URL

from forebay.sinks._http import HttpOptions
from forebay.sinks._urls import BaseUrl, Secret, SecretUrl, url_secrets
from forebay.sinks.powerbi.source import check_key, check_source

MAX_COLUMNS = 75
"""Columns of a table (documented by Microsoft)."""

_Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,64}$")]
_Amount = Annotated[int, Field(ge=1)]


class ColumnType(StrEnum):
    """The types of a push table's columns."""

    INT64 = "Int64"
    DOUBLE = "Double"
    BOOLEAN = "Boolean"
    DATETIME = "Datetime"
    STRING = "String"
    DECIMAL = "Decimal"


class LongStrings(StrEnum):
    """What becomes of a mapped string that is longer than Power BI documents."""

    REJECT = "reject"
    TRUNCATE = "truncate"


class Sequence(StrEnum):
    """Whether batches carry sequence numbers, to ask for after an answer that never came."""

    OFF = "off"
    VERIFY = "verify"


class Retention(StrEnum):
    """Whether the model drops old rows: `defaultRetentionPolicy`, as it was made."""

    NONE = "none"
    FIFO = "fifo"


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, serialize_by_alias=True
    )


class Auth(_Model):
    """A service principal that may write to the model."""

    tenant_id: str = Field(
        pattern=r"^[0-9A-Za-z.-]{1,253}$", description="Directory: its id, or one of its domains."
    )
    client_id: _Id = Field(description="The application's id.")
    client_secret: Secret = Field(min_length=1, description="One of the application's secrets.")
    scope: str = Field(
        default="https://analysis.windows.net/powerbi/api/.default",
        description="What the token is for; sovereign clouds have their own.",
    )


class Limits(_Model):
    """Microsoft's limits for one model; lower them where other writers share it."""

    requests_per_minute: _Amount = Field(default=120, description="POSTs in any minute.")
    requests_per_hour_large: _Amount = Field(
        default=120,
        description="POSTs in any hour once the table may hold 250,000 rows; not with "
        '`retention = "fifo"`.',
    )
    rows_per_hour: _Amount = Field(default=1_000_000, description="Rows in any hour.")
    pending: _Amount = Field(default=5, description="POSTs under way at once.")


class Column(_Model):
    """Where a column's value comes from, and what it is turned into."""

    source: Annotated[str | tuple[str, ...], AfterValidator(check_source)] = Field(
        alias="from",
        description="Path in the event, like `order.amount`; or the path as a list of keys, where "
        "a key has a dot or begins with @; or `@seq`, `@stream`, `@received_at`, `@event`, "
        "`@attributes.NAME`.",
    )
    type: ColumnType | None = Field(
        default=None, description="Convert to this type; without it the value is sent as it is."
    )


def _long_form(value: Any) -> Any:
    return {"from": value} if isinstance(value, str | list | tuple) else value


_ColumnName = Annotated[str, AfterValidator(check_key)]


class PowerBIOptions(HttpOptions):
    """Options of `type = "powerbi"`."""

    model_config = ConfigDict(serialize_by_alias=True)

    push_url: SecretUrl | None = Field(
        default=None,
        description="The push URL that Power BI shows for a streaming dataset, with its key; a "
        "secret. Either this, or `dataset_id`, `table` and `auth`.",
    )
    dataset_id: _Id | None = Field(default=None, description="Id of the push dataset.")
    table: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Name of its table."
    )
    workspace_id: _Id | None = Field(
        default=None,
        description="Id of its workspace. A service principal has no My workspace: it needs this.",
    )
    auth: Auth | None = Field(default=None, description="The service principal that writes.")
    api_url: BaseUrl = Field(
        default="https://api.powerbi.com", description="The REST API, of a sovereign cloud too."
    )
    authority_url: BaseUrl = Field(
        default="https://login.microsoftonline.com", description="Where tokens come from."
    )
    columns: (
        Annotated[
            dict[_ColumnName, Annotated[Column, BeforeValidator(_long_form)]],
            Field(min_length=1, max_length=MAX_COLUMNS),
        ]
        | None
    ) = Field(
        default=None,
        description='Columns of each row: `Column = "path"` or `Column = {from = "path", type = '
        '"Int64"}`, at most 75. Without it events are sent as they are.',
    )
    long_strings: LongStrings = Field(
        default=LongStrings.REJECT,
        description="A mapped string of more than 4,000 characters: `reject` sends its row to the "
        "dead letters, `truncate` cuts it.",
    )
    sequence: Sequence = Field(
        default=Sequence.OFF,
        description="`verify`: batches carry a sequence number, and after an answer that never "
        "came forebay asks for it before it sends the batch again. Not with `push_url`; one batch "
        "in flight.",
    )
    limits: Limits = Field(default_factory=Limits, description="How much the model takes.")
    retention: Retention = Field(
        default=Retention.NONE,
        description="Whether the model drops old rows at 200,000 (`fifo`) or keeps them (`none`).",
    )

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        by_id = {"dataset_id": self.dataset_id, "table": self.table, "auth": self.auth}
        given = [name for name, value in by_id.items() if value is not None]
        if self.push_url is None:
            missing = [name for name in by_id if name not in given]
            if not given:
                raise ValueError("set `push_url`, or `dataset_id`, `table` and `auth`")
            if missing:
                raise ValueError(f"set {' and '.join(missing)} too, beside {' and '.join(given)}")
        elif given or self.workspace_id is not None:
            raise ValueError(
                "set either `push_url`, or `dataset_id`, `table`, `workspace_id` and `auth`: "
                "a push URL names its table itself"
            )
        if self.push_url is not None and self.sequence is Sequence.VERIFY:
            raise ValueError(
                'a push URL takes no sequence numbers: leave out `sequence = "verify"`, or set '
                "`dataset_id`, `table` and `auth` instead of `push_url`"
            )
        return self

    def url(self) -> URL:
        """Where rows are posted."""
        if self.push_url is not None:
            # Opaque: not a byte of it is changed.
            return URL(self.push_url.get_secret_value(), encoded=True)
        return self._table_url("rows")

    def sequence_url(self) -> URL:
        """Where a table's sequence numbers are read."""
        return self._table_url("sequenceNumbers")

    def _table_url(self, member: str) -> URL:
        group = "" if self.workspace_id is None else f"/groups/{self.workspace_id}"
        table = quote(self.table or "", safe="")
        path = f"/v1.0/myorg{group}/datasets/{self.dataset_id}/tables/{table}/{member}"
        return URL(self.api_url + path, encoded=True)

    def secrets(self) -> list[str]:
        """All that must not be shown."""
        urls = [url.get_secret_value() for url in (self.push_url, self.proxy) if url is not None]
        auth = [] if self.auth is None else [self.auth.client_secret.get_secret_value()]
        return [*auth, *(secret for url in urls for secret in url_secrets(url))]
