"""The access tokens that the emulator issued."""

import secrets
from collections.abc import Callable

from forebay.sinks.powerbi.emulator.refusal import Refused, error, token_expired

# A client asks for one an hour; more than this many are a client's mistake, not worth memory.
_KEPT = 10_000


class Tokens:
    """Bearer tokens, each good for `lifetime` seconds."""

    def __init__(self, lifetime: float, clock: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._issued: dict[str, tuple[str, float]] = {}

    def __repr__(self) -> str:
        return f"Tokens({len(self._issued)} issued)"

    def issue(self, client_id: str) -> str:
        if len(self._issued) >= _KEPT:
            del self._issued[next(iter(self._issued))]
        token = secrets.token_urlsafe(32)
        self._issued[token] = (client_id, self._clock() + self._lifetime)
        return token

    def expire_all(self) -> None:
        """Every token issued so far is expired from now on."""
        now = self._clock()
        self._issued = {token: (client, now) for token, (client, _) in self._issued.items()}

    def client(self, authorization: str | None) -> str:
        """The client that `Authorization: Bearer` names.

        Raises `Refused`: 401 without a known token, 403 `TokenExpired` for one that has expired.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or token not in self._issued:
            raise unauthorized()
        client_id, until = self._issued[token]
        if self._clock() >= until:
            raise token_expired()
        return client_id


def unauthorized() -> Refused:
    return error(401, "Unauthorized", "Send an access token: Authorization: Bearer <token>")
