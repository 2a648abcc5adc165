"""Entra's token endpoint, for the client credentials grant.

Error numbers and wording: Microsoft's list of AADSTS error codes.
"""

from typing import Any

import msgspec
from aiohttp import web

from forebay.sinks.powerbi.emulator.refusal import entra
from forebay.sinks.powerbi.emulator.world import World


class Entra:
    """The handler of `POST /{tenant}/oauth2/v2.0/token`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.AbstractRouteDef]:
        return [web.post("/{tenant}/oauth2/v2.0/token", self.issue)]

    async def issue(self, request: web.Request) -> web.Response:
        self._check_tenant(request.match_info["tenant"])
        form = await request.post()
        for name in ("grant_type", "client_id", "scope"):
            if not form.get(name):
                description = f"The request body must contain the following parameter: '{name}'."
                raise entra(400, "invalid_request", 900144, description)
        _check_grant(str(form["grant_type"]), str(form["scope"]))
        client_id = str(form["client_id"])
        self._check_client(client_id, str(form.get("client_secret", "")))
        return web.Response(body=msgspec.json.encode(self._token(client_id)), headers=_HEADERS)

    def _token(self, client_id: str) -> dict[str, Any]:
        lifetime = int(self._world.options.token_lifetime.total_seconds())
        return {
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": self._world.tokens.issue(client_id),
        }

    def _check_tenant(self, tenant: str) -> None:
        if self._world.options.tenant not in (None, tenant):
            raise entra(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")

    def _check_client(self, client_id: str, secret: str) -> None:
        options = self._world.options
        if options.client_id not in (None, client_id):
            description = f"Application with identifier '{client_id}' was not found."
            raise entra(400, "unauthorized_client", 700016, description)
        if not secret:
            description = "'client_assertion' or 'client_secret' is required."
            raise entra(401, "invalid_client", 7000216, description)
        if options.client_secret and secret != options.client_secret.get_secret_value():
            raise entra(401, "invalid_client", 7000215, "Invalid client secret provided.")


_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def _check_grant(grant_type: str, scope: str) -> None:
    if grant_type != "client_credentials":
        description = f"The app requested an unsupported grant type '{grant_type}'."
        raise entra(400, "unsupported_grant_type", 70003, description)
    if not scope.endswith("/.default"):
        description = (
            f"The provided value for scope {scope} is not valid. Client credential flows must "
            "have a scope value with /.default suffixed to the resource identifier."
        )
        raise entra(400, "invalid_scope", 1002012, description)
