"""The one way in which ingest says no."""


class Refusal(Exception):  # noqa: N818  an answer to the client, not a fault of ours
    """The status and the text of an answer that stores nothing.

    `error` is for the person who wrote the client: what is wrong and how to mend it.
    `headers` are whole lines, each ended by CRLF.
    """

    def __init__(self, status: int, error: str, headers: bytes = b"") -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers
