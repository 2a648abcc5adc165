"""The settings of the whole daemon: the parts' own models, composed, and what must fit together."""

import os
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import InitErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from forebay.buffer.options import BufferOptions
from forebay.daemon.admin.options import AdminOptions
from forebay.daemon.ingest.options import IngestOptions
from forebay.daemon.logs import LogOptions
from forebay.daemon.settings.addresses import parse_address
from forebay.daemon.settings.faults import fault, refusal
from forebay.daemon.settings.sinks import SinkTables
from forebay.sinks.units import Duration

# sun_path of unix(7) has 108 bytes, one of them for the final zero.
_LONGEST_SOCKET_PATH = 107


def _listen_faults(listen: str) -> list[InitErrorDetails]:
    try:
        if listen:
            parse_address(listen)
    except ValueError as error:
        return [fault(("listen",), f'{error}, or "" to turn it off')]
    return []


def _check_ingest(ingest: IngestOptions) -> IngestOptions:
    faults = _listen_faults(ingest.listen)
    if not ingest.listen and not ingest.socket:
        faults.append(fault((), "nothing listens; write listen or socket, or both"))
    if len(os.fsencode(ingest.socket)) > _LONGEST_SOCKET_PATH:
        faults.append(
            fault(("socket",), f"is longer than a Unix socket's {_LONGEST_SOCKET_PATH} bytes")
        )
    if ingest.max_event > ingest.max_body:
        faults.append(fault(("max_event",), "must not be larger than ingest.max_body"))
    if faults:
        raise refusal("ingest", faults)
    return ingest


def _check_admin(admin: AdminOptions) -> AdminOptions:
    if faults := _listen_faults(admin.listen):
        raise refusal("admin", faults)
    return admin


class Settings(BaseSettings):
    """Everything that can be set.

    Building one reads no file and no variable: `load` does, because it knows where each value
    came from.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    shutdown_timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="How long sends that are under way may still take after a stop was asked for.",
    )
    ingest: Annotated[IngestOptions, AfterValidator(_check_ingest)] = Field(
        default_factory=IngestOptions, description="Where events come in."
    )
    admin: Annotated[AdminOptions, AfterValidator(_check_admin)] = Field(
        default_factory=AdminOptions, description="Metrics, status and controls."
    )
    buffer: BufferOptions = Field(
        default_factory=BufferOptions, description="Where events wait on disk."
    )
    log: LogOptions = Field(
        default_factory=LogOptions, description="What is written to standard error."
    )
    sinks: SinkTables = Field(
        default_factory=dict, description="Where events go, one table a sink, named by you."
    )

    @model_validator(mode="after")
    def _distinct_listeners(self) -> Self:
        # Port 0 asks the system for any free port, so two of them differ.
        listen = self.admin.listen
        if listen and listen == self.ingest.listen and parse_address(listen)[1]:
            taken = fault(("admin", "listen"), "is ingest.listen already; take another port")
            raise refusal("settings", [taken])
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in; see the class."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
