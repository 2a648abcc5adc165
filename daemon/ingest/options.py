"""What an operator can set about the listeners: the `[ingest]` table of the configuration."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr

from forebay.sinks.units import Duration


class Unrouted(StrEnum):
    """What happens to events of a stream that no sink subscribes to."""

    REJECT = "reject"
    STORE = "store"


class IngestOptions(BaseModel):
    """The `[ingest]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(
        default="127.0.0.1:4680", description='TCP address and port; "" turns TCP off.'
    )
    socket: str = Field(
        default="", description='Path of a Unix socket to serve HTTP on as well; "" is none.'
    )
    socket_mode: Annotated[str, Field(pattern="^0?[0-7]{3}$")] = Field(
        default="0660", description="Permissions of the Unix socket, in octal."
    )
    max_body: Annotated[ByteSize, Field(ge=1024)] = Field(
        default=ByteSize(16 * 1024**2), description="Largest body, before and after decompression."
    )
    max_event: Annotated[ByteSize, Field(ge=16)] = Field(
        default=ByteSize(1024**2), description="Largest single event."
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=1024, description="Connections served at once by each listener; more must wait."
    )
    header_timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a client may take to send the head of a request.",
    )
    body_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long a client may pause while it sends a body.",
    )
    idle_timeout: Duration = Field(
        default=timedelta(seconds=75),
        description="How long a connection may stay open between two requests.",
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description='Clients must send `Authorization: Bearer` with this; "" asks for none.',
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Names, beside those of loopback, that `Host` may carry on TCP (no port).",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="Web origins that may post from a browser."
    )
    dedup_window: Duration = Field(
        default=timedelta(hours=24),
        description="How long an `Idempotency-Key` or a CloudEvent's identity is remembered.",
    )
    unrouted: Unrouted = Field(
        default=Unrouted.REJECT,
        description="A stream that no sink subscribes to is refused with 404, or stored all the "
        "same until every sink has passed it.",
    )
