"""What becomes of a work, written down: delivered, or dead letters with the reason."""

from collections.abc import Sequence

from forebay.buffer import DeadLetter, Outcome
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.delivery.work import Chunk, Work
from forebay.sinks import Answer


class Settlement:
    """Settles the works of one sink."""

    def __init__(self, sink: str, around: Surroundings) -> None:
        self._sink = sink
        self._store, self._clock, self._mask = around.store, around.clock, around.mask

    def delivered(self, work: Work) -> None:
        """The sink stored all of it."""
        if work.letters:
            self._store.settle_replayed(self._sink, delivered=work.letters, repeats=work.repeats)
        elif work.chunk is not None:
            work.chunk.delivered += work.batch.count
            self._done(work.chunk, work)
        else:
            outcomes = {Outcome.DELIVERED: work.batch.count, **_repeated(work)}
            self._store.settle(self._sink, work.first, work.last, outcomes)

    def refused(self, work: Work, answer: Answer) -> None:
        """The sink will take nothing of it."""
        letters = [self._letter(work, row, answer) for row in range(work.batch.count)]
        if work.letters:
            self._store.settle_replayed(self._sink, refused=letters, repeats=work.repeats)
        elif work.chunk is not None:
            for letter in letters:
                self._bury(letter)
            self._done(work.chunk, work)
        else:
            outcomes = {Outcome.DEAD_LETTERED: len(letters), **_repeated(work)}
            self._store.settle(self._sink, work.first, work.last, outcomes, letters)

    def refused_rows(self, work: Work, rows: Sequence[int], answer: Answer) -> Work | None:
        """The sink named rows that it will not take; what is left of the work."""
        rest = work.without(rows)
        if rest is None:
            self.refused(work, answer)  # with others' events in between, which nobody else settles
            return None
        for row in sorted(set(rows)):
            letter = self._letter(work, row, answer)
            if work.letters:
                self._store.settle_replayed(self._sink, refused=[letter])
            else:
                self._bury(letter)
        if work.chunk is not None:
            work.chunk.left -= work.batch.count - rest.batch.count
        return rest

    def given_up(self, work: Work) -> None:
        """Somebody else is done with all of it: the other lanes need not wait for it."""
        if work.chunk is not None:
            self._done(work.chunk, work)

    def still_wanted(self, work: Work) -> bool:
        """Whether nobody else (expiry, a drop policy) is done with all of it meanwhile."""
        if work.letters:
            return True
        return not self._store.sink(self._sink).cursor.covers(work.first, work.last)

    def _bury(self, letter: DeadLetter) -> None:
        """One event alone, in the midst of others."""
        outcomes = {Outcome.DEAD_LETTERED: 1}
        self._store.settle(self._sink, letter.seq, letter.seq, outcomes, [letter])

    def _done(self, chunk: Chunk, lane: Work) -> None:
        """Settle the whole stretch when the last lane is done."""
        chunk.left -= lane.batch.count
        chunk.repeated += lane.repeats * lane.batch.count
        if not chunk.left:
            outcomes = {
                Outcome.DELIVERED: chunk.delivered,
                Outcome.POSSIBLE_DUPLICATE: chunk.repeated,
            }
            self._store.settle(self._sink, chunk.first, chunk.last, outcomes)

    def _letter(self, work: Work, row: int, answer: Answer) -> DeadLetter:
        part = work.batch.singles[row]
        return DeadLetter(
            sink=self._sink,
            stream=part.stream,
            seq=part.first_seq,
            received_at=part.received_at,
            failed_at=self._clock.wall(),
            attempts=work.attempts + 1,
            status=answer.status,
            error=self._mask(answer.reason_of(row)),
            event=part.payload,
            attributes=part.attributes[0] if part.attributes else None,
            id=work.letters[row] if work.letters else 0,
        )


def _repeated(work: Work) -> dict[Outcome, int]:
    repeated = work.repeats * work.batch.count
    return {Outcome.POSSIBLE_DUPLICATE: repeated} if repeated else {}
