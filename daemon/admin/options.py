"""What an operator can set about the admin plane: the `[admin]` table of the configuration."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class AdminOptions(BaseModel):
    """The `[admin]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(
        default="127.0.0.1:4681",
        description='TCP address and port of metrics, status and controls; "" turns it off.',
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description="All but `/healthz` and `/readyz` need `Authorization: Bearer` with this; "
        '"" asks for none.',
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Names, beside those of loopback, that `Host` may carry (no port).",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="Web origins that may call the API from a browser."
    )
