"""From a request's body to its events."""

from forebay.daemon.ingest.cloudevents import decode_batch, decode_binary, decode_structured
from forebay.daemon.ingest.decode import decode_json, decode_lines
from forebay.daemon.ingest.encoding import decoded
from forebay.daemon.ingest.events import Events
from forebay.daemon.ingest.routes import Form, Post

_BOM = b"\xef\xbb\xbf"

_READERS = {
    Form.JSON: decode_json,
    Form.LINES: decode_lines,
    Form.STRUCTURED: decode_structured,
    Form.BATCH: decode_batch,
}


def read_body(post: Post, body: bytes, *, max_body: int, max_event: int) -> Events:
    """Undo the codings, and read the events. 400 and 413 by Refusal.

    A UTF-8 byte order mark at the start is dropped, as RFC 8259 allows.
    """
    if post.codings:
        body = decoded(body, post.codings, max_body)
    body = body.removeprefix(_BOM)
    if post.attributes is not None:
        return decode_binary(body, max_event, post.attributes)
    return _READERS[post.form](body, max_event)
