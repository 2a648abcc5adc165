"""Posting with or without sequence numbers: `sequence = "off" | "verify"`.

    in doubt? ──► read back ──► stored ──────────────────────────────► done
        │             └── not, or nobody knows ──┐
        └────────────────────────────────────────┴──► post ──► answer

It costs one GET after `open` and one after each answer that never came. Where numbers turn out not
to be honoured, one line in the log says so, and delivery goes on without them, at least once:

- the service lacks numbers that it took from us, or answers the question with no numbers but takes
  the batch;
- a row is refused with its number and taken without it. Only a batch of one row is tried so, which
  each refused batch is cut down to.

A read-back that fails for the moment is tried again with the batch, five times; then the batch is
posted all the same, since to wait for ever would be worse than a possible duplicate.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from forebay.sinks.base import Answer, Batch, Rejected, Retry
from forebay.sinks.powerbi.sequence import GREATEST, Numbers, has_place, number_of, numbers_in

_SECONDS = 10.0
_PATIENCE = 5

Post = Callable[[bytes, Mapping[str, str]], Awaitable[None]]
"""Posts a body with these headers too; raises an `Answer` unless it was stored."""
Ask = Callable[[], Awaitable[bytes]]
"""The answer to the question for the table's numbers; raises an `Answer` where there is none."""

_log = logging.getLogger("forebay.sinks.powerbi")


class Unverified:
    """Posts without numbers."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def send(self, batch: Batch, body: bytes) -> None:  # noqa: ARG002  as with Verified
        """Store the body. Raises an `Answer`."""
        await self._post(body, {})


class Verified:
    """Posts with numbers, and asks for them before it sends again what may be stored."""

    def __init__(self, name: str, post: Post, ask: Ask) -> None:
        self._name = name
        self._post = post
        self._ask = ask
        self._numbers = Numbers()
        self._honoured = True
        self._overtaken = False
        self._unanswered = 0  # questions in a row
        self._refusal = ""  # what came instead of numbers, the last time

    async def send(self, batch: Batch, body: bytes) -> None:
        """Store the body, unless it is stored already. Raises an `Answer`."""
        if not self._honoured or not has_place(batch):
            await self._post(body, {})
            return
        number = number_of(batch)
        if self._numbers.in_doubt(number):
            await self._read_back()
        if not self._numbers.is_stored(number):
            await self._send(batch, body, number)

    async def _send(self, batch: Batch, body: bytes, number: int) -> None:
        if self._may_use(number):
            await self._with_number(batch, body, number)
        else:
            await self._post(body, {})
        if self._refusal:
            self._give_up(self._refusal)

    def _may_use(self, number: int) -> bool:
        if number > GREATEST:
            self._give_up("the seqs of this buffer have outgrown them")
        if self._numbers.is_overtaken(number) and not self._overtaken:
            self._overtaken = True
            _log.warning(
                "sink %s: the table has seen higher sequence numbers, of an earlier run or buffer "
                "or of another writer; until ours are higher, batches go without, at least once",
                self._name,
            )
        return self._honoured and self._numbers.is_usable(number)

    async def _with_number(self, batch: Batch, body: bytes, number: int) -> None:
        still_doubtful = self._numbers.in_doubt(number)
        try:
            await self._post(body, self._numbers.sending(number))
        except Answer as answer:
            self._numbers.answered(number, answer, still_doubtful=still_doubtful)
            if not isinstance(answer, Rejected) or batch.count > 1:
                raise
            await self._post(body, {})
            self._give_up(f"a row is taken only without its number: {answer.reason}")
        else:
            self._numbers.answered(number, None, still_doubtful=still_doubtful)

    async def _read_back(self) -> None:
        """Learn the service's numbers, where it tells them. Raises `Retry` to try that again."""
        self._unanswered += 1  # ahead of the answer: the send may be cancelled as it waits
        try:
            async with asyncio.timeout(_SECONDS):
                body = await self._ask()
        except TimeoutError:
            self._failed(Retry(f"no answer within {_SECONDS:g} s"))
        except Retry as answer:
            self._failed(answer)
        except Answer as answer:
            # The table or our rights may be at fault: the POST that follows will tell.
            self._told(None, answer.reason)
        else:
            self._told(numbers_in(body), "there are none in the answer")

    def _failed(self, answer: Retry) -> None:
        if self._unanswered < _PATIENCE:
            # Not ambiguous: nothing was posted.
            raise Retry(
                f"the sequence numbers were not read back: {answer.reason}",
                after=answer.after,
                throttled=answer.throttled,
                status=answer.status,
            )

    def _told(self, numbers: list[int] | None, reason: str) -> None:
        self._unanswered = 0
        self._refusal = "" if numbers is not None else f"they cannot be read back: {reason}"
        if numbers is not None and not self._numbers.read_back(numbers):
            self._give_up("the service lacks those of batches that it took")

    def _give_up(self, why: str) -> None:
        if self._honoured:
            _log.warning(
                "sink %s: sequence numbers are not honoured, %s. Delivery goes on without them, "
                "at least once",
                self._name,
                why,
            )
        self._honoured = False
