"""The buffer's errors, named for what the caller does next."""


class BufferFault(Exception):  # noqa: N818  a base; BufferError is Python's own
    """Base of the buffer's errors. The message is for a person and says what to do."""


class BufferFull(BufferFault):
    """There is no room. Nothing was stored; come back after `retry_after` seconds."""

    retry_after = 1


class BufferUnavailable(BufferFault):
    """The disk refuses writes, or the buffer is closing. Nothing was stored; come back later."""

    retry_after = 1


class BufferInUse(BufferFault):
    """Another process owns the file. Stop that one, or choose another `buffer.path`."""


class BufferTooNew(BufferFault):
    """The file was written by a newer forebay. Run that one, or choose another `buffer.path`."""


class BufferDamaged(BufferFault):
    """What was read is not what was written."""
