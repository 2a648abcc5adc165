"""From a request's body to its events."""

from forebay.daemon.ingest.encoding import decoded
from forebay.daemon.ingest.events import Events
from forebay.daemon.ingest.routes import Post

_BOM = b"\xef\xbb\xbf"


def read_body(post: Post, body: bytes, *, max_body: int, max_event: int) -> Events:
    """Undo the codings, and read the events. 400 and 413 by Refusal.

    A UTF-8 byte order mark at the start is dropped, as RFC 8259 allows.
    """
    if post.codings:
        body = decoded(body, post.codings, max_body)
    return post.read(body.removeprefix(_BOM), max_event)
