"""The file: opening, locking, migrating, and what SQLite's errors mean to us.

One connection writes and checkpoints; everyone else reads (`mode=ro`). SQLite versions before
3.51.3, 3.50.7 and 3.44.6 can lose committed transactions when two connections write and
checkpoint a WAL at once; with a single one they cannot.
"""

import fcntl
import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final
from uuid import uuid4

from forebay.buffer.errors import BufferInUse, BufferTooNew, BufferUnavailable
from forebay.buffer.options import BufferOptions, Durability

PAGE_SIZE: Final = 4096
BUSY_TIMEOUT: Final = 0.25
"""Seconds that a commit waits for a lock which nobody else should hold."""
_SLACK_PAGES: Final = 4096
"""Pages beyond `max_bytes` for cursors and dead letters: a full log must be able to empty itself.
New events never use them."""
_JOURNAL_LIMIT: Final = 8 * 1024 * 1024


class Lock:
    """Keeps a second daemon from the same file: an flock, which dies with its process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises BufferInUse with the owner's pid."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take(self._descriptor)
        except OSError as error:
            self.release()
            raise BufferUnavailable(f"cannot lock {self._path}: {error.strerror}") from error
        except BufferInUse:
            self.release()
            raise

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise BufferInUse(
                f"{self._path.name.removesuffix('.lock')} is in use by process {owner}: "
                "stop it, or set another buffer.path"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let go of the lock, if it was taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def prepare(path: Path) -> None:
    """Make the directory, and an empty file with the right permissions."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    except OSError as error:
        raise BufferUnavailable(f"cannot use buffer.path {path}: {error.strerror}") from error


def open_writer(options: BufferOptions) -> sqlite3.Connection:
    """The one connection that writes, with the newest schema. Raises sqlite3.Error."""
    database = sqlite3.connect(
        options.path,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        _refuse_newer(database)
        _configure(database, options)
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _configure(database: sqlite3.Connection, options: BufferOptions) -> None:
    synchronous = "FULL" if options.durability is Durability.FSYNC else "NORMAL"
    for pragma in (
        f"page_size = {PAGE_SIZE}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "wal_autocheckpoint = 0",  # checkpoints are the writer's, between commits
        f"journal_size_limit = {_JOURNAL_LIMIT}",
        "secure_delete = FAST",  # as Debian builds it, every page is written once more to be zeroed
        "temp_store = MEMORY",
        "foreign_keys = ON",
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    # A file that was allowed more before must be able to empty itself too.
    pages = file_pages(database)
    limit = max(options.max_bytes // PAGE_SIZE, pages) + _SLACK_PAGES
    database.execute(f"PRAGMA max_page_count = {limit}").fetchall()


def reader_uri(path: Path) -> str:
    """The address under which a read-only connection opens the file."""
    return f"{path.absolute().as_uri()}?mode=ro"


def _migrations() -> list[tuple[int, str]]:
    return sorted(
        (int(file.name.split("_")[0]), file.read_text(encoding="utf-8"))
        for file in resources.files("forebay.buffer.migrations").iterdir()
        if file.name.endswith(".sql")
    )


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def _refuse_newer(database: sqlite3.Connection) -> None:
    """Before anything is written to the file."""
    version, newest = _version(database), _migrations()[-1][0]
    if version > newest:
        raise BufferTooNew(
            f"the buffer has schema version {version}, this forebay knows {newest}: "
            "run the newer forebay, or set another buffer.path"
        )


def migrate(database: sqlite3.Connection) -> None:
    """Bring the schema to the newest version, one numbered file at a time."""
    version = _version(database)
    for number, script in _migrations():
        if number > version:
            database.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT")
    database.execute(
        "INSERT OR IGNORE INTO log (id, instance, next_seq, quarantined) VALUES (1, ?, 1, 0)",
        (uuid4().hex[:12],),
    )


def used_bytes(database: sqlite3.Connection) -> int:
    """Bytes of the pages in use, without the free ones and without the WAL."""
    return (file_pages(database) - free_pages(database)) * PAGE_SIZE


def file_pages(database: sqlite3.Connection) -> int:
    """All pages of the file."""
    pages: int = database.execute("PRAGMA page_count").fetchone()[0]
    return pages


def free_pages(database: sqlite3.Connection) -> int:
    """Pages that hold nothing and can be given back to the file system."""
    pages: int = database.execute("PRAGMA freelist_count").fetchone()[0]
    return pages


def room(database: sqlite3.Connection) -> int:
    """Bytes that the file may still take, its free pages among them; also in a transaction."""
    pages = file_pages(database)
    most: int = database.execute("PRAGMA max_page_count").fetchone()[0]
    return (most - pages + free_pages(database)) * PAGE_SIZE


def describe(error: BaseException) -> str:
    """One line for an operator: SQLite's own words, and its name for the code."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)


def is_full(error: BaseException) -> bool:
    """Whether there was no room: `max_page_count` was reached, or the volume is full."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def is_corrupt(error: BaseException) -> bool:
    """Whether SQLite found something else in the file than what it wrote."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def wal_reset_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite is free of the WAL-reset race between two writing connections."""
    if version[:2] == (3, 44):
        return version >= (3, 44, 6)
    if version[:2] == (3, 50):
        return version >= (3, 50, 7)
    return version >= (3, 51, 3)
