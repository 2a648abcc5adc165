"""Requests to the admin plane of the running daemon."""

import json
from typing import Any

from forebay.daemon.cli import connection
from forebay.daemon.cli.parser import CommandError
from forebay.daemon.settings import Settings

_TIMEOUT = 30.0
_FAILED = 400


class Admin:
    """The admin plane that the settings describe. Every failure is a CommandError of one line."""

    def __init__(self, settings: Settings) -> None:
        if not settings.admin.listen:
            raise CommandError('the admin plane is off: admin.listen is ""')
        self.listen = settings.admin.listen
        self._token = settings.admin.token.get_secret_value()

    def get(self, path: str) -> bytes:
        """The body of the answer."""
        return self._request("GET", path, None)

    def post(self, path: str, body: Any = None) -> bytes:
        """The body of the answer; `body` is sent as JSON."""
        return self._request("POST", path, b"" if body is None else json.dumps(body).encode())

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        http = connection.tcp(self.listen, _TIMEOUT)
        headers = dict(connection.LOCAL)
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body:
            headers["Content-Type"] = "application/json"
        try:
            http.request(method, path, body, headers)
            answer = http.getresponse()
            content = answer.read()
        except connection.FAILURES as error:
            raise CommandError(
                f"no answer from {self.listen} (admin.listen): {connection.reason(error)}; "
                "is `forebay run` running with the same settings?"
            ) from None
        finally:
            http.close()
        if answer.status >= _FAILED:
            raise CommandError(f"{self.listen}: {error_text(content, answer.status)}")
        return content

    def get_json(self, path: str) -> Any:
        """The answer, parsed."""
        return parse(self.get(path), self.listen)


def parse(content: bytes, listen: str) -> Any:
    """The JSON of an answer."""
    try:
        return json.loads(content)
    except ValueError:
        raise CommandError(f"{listen} answers, but not like forebay: no JSON") from None


def error_text(content: bytes, status: int) -> str:
    """What an error answer says, else its status."""
    try:
        text = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return f"status {status}"
    return " ".join(str(text).split())
