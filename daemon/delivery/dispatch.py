"""Sending one work until all of it is settled.

gate ──► send ──► delivered ──────────────────────► settle
▲        │
│        ├── rejected: named rows ──► dead letters, the rest ─┐
│        ├── rejected, too large: halves ─────────────────────┤
│        └── retry, hold ─────────────────────────────────────┤
└─────────────────────────────────────────────────────────────┘
"""

import asyncio
import json
from collections import deque
from datetime import UTC, datetime
from typing import Any

import structlog

from forebay.buffer.crash import point
from forebay.daemon.delivery.fit import Fit
from forebay.daemon.delivery.gate import Gate, Reason
from forebay.daemon.delivery.options import DeliveryOptions
from forebay.daemon.delivery.settlement import Settlement
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.delivery.window import Window
from forebay.daemon.delivery.work import Work
from forebay.sinks import Answer, Hold, Rejected, Retry, Sink, TooLarge

_Answer = Rejected | TooLarge | Retry | Hold


class Dispatch:
    """Drives one sink's `send`; knows when it may be called, and what its answers mean."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        options: DeliveryOptions,
        around: Surroundings,
        *,
        gate: Gate,
        window: Window,
    ) -> None:
        self._name = name
        self._sink = sink
        self._options = options
        self._store, self._clock = around.store, around.clock
        self._metrics, self._mask = around.metrics, around.mask
        self._gate = gate
        self._window = window
        self._settlement = Settlement(name, around)
        self._log = structlog.get_logger().bind(sink=name)
        self._changed = asyncio.Event()
        self._draining = False
        # The ledger tells of a delivery a moment late: the next send would not know of the last.
        self._stored_at_most = around.store.sink(name).delivered
        self._fit = Fit()
        self.last_error: dict[str, Any] | None = None

    @property
    def largest(self) -> int | None:
        """The most events that the sink was seen to take at once, after it refused more."""
        return self._fit.most

    def changed(self) -> None:
        """Something that a waiting send looks at has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Start nothing more; what is under way may end."""
        self._draining = True
        self.changed()

    async def deliver(self, work: Work) -> None:
        """Return when all of the work is settled, or when draining began before."""
        self._metrics.batch_events.labels(self._name).observe(work.batch.count)
        pieces, taken, refused = deque([work]), 0, False
        while pieces:
            piece = pieces.popleft()
            if await self._admitted(piece):
                answer = await self._send(piece)
                point("delivery.answered")
                taken = max(taken, piece.batch.count) if answer is None else taken
                refused = refused or isinstance(answer, TooLarge)
                pieces.extendleft(reversed(self._settle(piece, answer)))
            elif not self._draining:
                self._settlement.given_up(piece)
        self._fit.learn(taken, refused=refused)

    async def _admitted(self, work: Work) -> bool:
        """Wait until the gate lets the work through; False when it is not to be sent any more.

        That is when draining began, or when others (expiry, a drop policy) are done with it.
        """
        events = work.batch.count
        while not self._draining and self._settlement.still_wanted(work):
            now = self._clock.monotonic()
            wait = self._gate.wait(now, events, self._stored_at_most)
            if wait is None:
                self._gate.start(events)
                self._stored_at_most += events
                self._keep_quotas(now)
                return True
            await self._clock.wait(self._changed, wait.seconds)
            if wait.reason is Reason.THROTTLED:
                waited = self._clock.monotonic() - now
                self._metrics.throttled_seconds.labels(self._name).inc(waited)
        return False

    async def _send(self, work: Work) -> _Answer | None:
        """One attempt; None when the sink stored it all."""
        began = self._clock.monotonic()
        answer: _Answer | None = None
        try:
            async with asyncio.timeout(self._options.timeout.total_seconds()):
                await self._sink.send(work.batch)
        except (Rejected, TooLarge, Retry, Hold) as given:
            answer = given
        except TimeoutError:
            seconds = self._options.timeout.total_seconds()
            answer = Retry(f"no answer within {seconds:g} s", ambiguous=True)
        except asyncio.CancelledError as error:
            if _cancelled():
                self._cut_off(work)
                raise
            # A sink's own affair. Let out, it would end this task as if all had gone well.
            answer = self._fault(error)
        except Exception as error:  # noqa: BLE001  a fault in one sink must not reach another
            answer = self._fault(error)
        self._ended(work, began, answer)
        return answer

    def _fault(self, error: BaseException) -> Retry:
        self._log.error("sink.fault", fault=type(error).__name__, exc_info=error)
        return Retry(f"a fault in the sink: {type(error).__name__}", ambiguous=True)

    def _cut_off(self, work: Work) -> None:
        now = self._clock.monotonic()
        self._gate.ended(now, work.batch.count)
        self._gate.cancelled(now)
        self._keep_quotas(now)

    def _ended(self, work: Work, began: float, answer: _Answer | None) -> None:
        now = self._clock.monotonic()
        self._metrics.send_seconds.labels(self._name).observe(now - began)
        self._gate.ended(now, work.batch.count)
        if answer is not None and not (isinstance(answer, Retry) and answer.ambiguous):
            self._stored_at_most -= work.batch.count
        self._window.measured(now, now - began, pressed=isinstance(answer, Retry))
        self._keep_quotas(now)

    def _keep_quotas(self, now: float) -> None:
        """So that the next process does not begin them anew, also after a crash in a send."""
        if self._gate.quotas.usages:
            windows = self._gate.quotas.to_json(now, self._clock.wall())
            self._store.note(self._name, json.dumps({"quotas": windows}))

    # ── what an answer means ─────────────────────────────────────────────────────────────────

    def _settle(self, work: Work, answer: _Answer | None) -> list[Work]:
        """Write down what is decided; what is left to send, in order."""
        try:
            match answer:
                case None:
                    return self._delivered(work)
                case Rejected():
                    return self._rejected(work, answer)
                case TooLarge():
                    return self._too_large(work, answer)
                case Hold():
                    return self._held(work, answer)
                case Retry():
                    return self._retry(work, answer)
        finally:
            self.changed()

    def _delivered(self, work: Work) -> list[Work]:
        if self.last_error is not None and self._gate.reason(self._clock.monotonic()):
            self._log.info("sink.recovered")
        self._gate.taken()
        self._settlement.delivered(work)
        self._count("delivered")
        age = max(self._clock.wall() - work.received_at, 0.0)
        self._metrics.end_to_end_seconds.labels(self._name).observe(age)
        return []

    def _rejected(self, work: Work, answer: Rejected) -> list[Work]:
        self._gate.taken()
        self._remember(answer)
        rows = {row for row in answer.rows or () if 0 <= row < work.batch.count}
        if rows:
            self._count("split")
            self._log_dead_letters(len(rows), answer)
            rest = self._settlement.refused_rows(work, sorted(rows), answer)
            return [rest] if rest else []
        return self._halve_or_bury(work, answer)

    def _too_large(self, work: Work, answer: TooLarge) -> list[Work]:
        self._gate.taken()
        self._remember(answer)
        return self._halve_or_bury(work, answer)

    def _halve_or_bury(self, work: Work, answer: Answer) -> list[Work]:
        if work.batch.count > 1:
            self._count("split")
            return list(work.halves())
        return self._bury(work, answer)

    def _bury(self, work: Work, answer: Answer) -> list[Work]:
        self._settlement.refused(work, answer)
        self._count("dead_lettered")
        self._log_dead_letters(work.batch.count, answer)
        return []

    def _held(self, work: Work, answer: Hold) -> list[Work]:
        self._remember(answer)
        self._gate.held(self._clock.monotonic())
        self._log.error("sink.held", reason=answer.reason, status=answer.status)
        return [work.again()]

    def _retry(self, work: Work, answer: Retry) -> list[Work]:
        self._remember(answer)
        again = work.again(ambiguous=answer.ambiguous, failed=not answer.throttled)
        opened = self._gate.retry(self._clock.monotonic(), answer, again.attempts)
        self._count("retried")
        self._log.warning("sink.retrying", reason=answer.reason, status=answer.status)
        if opened:
            self._metrics.breaker_opened.labels(self._name).inc()
            self._log.error("sink.breaker_opened", reason=answer.reason)
        most = self._options.retry.max_attempts
        if most and again.failures >= most and not answer.throttled:
            return self._bury(work, answer)
        return [again]

    def _remember(self, answer: Answer) -> None:
        at = datetime.fromtimestamp(self._clock.wall(), UTC).isoformat(timespec="milliseconds")
        self.last_error = {"at": at, "status": answer.status, "message": self._mask(answer.reason)}

    def _count(self, outcome: str) -> None:
        self._metrics.batches.labels(self._name, outcome).inc()

    def _log_dead_letters(self, events: int, answer: Answer) -> None:
        self._log.warning(
            "sink.dead_lettered", events=events, reason=answer.reason, status=answer.status
        )


def _cancelled() -> bool:
    """Whether somebody cancelled this task, rather than something inside of it ending so."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
