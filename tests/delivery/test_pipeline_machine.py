"""Buffer and pipelines together, in any order of events that hypothesis comes up with, against a
plain model: what was posted, and what the sinks stored. The accounts must agree after every step.
"""

import asyncio
import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from delivery_kit import World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scripted_sink import HANG, Place, Scripted

from forebay.buffer import Selection
from forebay.sinks import Batch, Hold, Rejected, Retry, TooLarge

STREAMS = ("a", "b.x", "b.y")
NAMES = ("strict", "loose", "lanes")
GLOBS = (("b.*",), ("b.x",), ("b.*", "a"))
VERBS = ("pause", "resume", "probe")
OPTIONS = {
    "strict": {"batch": {"max_events": 6, "linger": 1}},
    "loose": {"order": "none", "max_in_flight": 3, "batch": {"max_events": 4}},
    "lanes": {"partition_by": "k", "max_in_flight": 2, "batch": {"max_events": 8, "linger": 1}},
}
ANSWERS: tuple[Scripted, ...] = (
    None,
    HANG,
    Retry("HTTP 503", status=503),
    Retry("reset", ambiguous=True),
    Retry("HTTP 429", after=30.0, throttled=True),
    Hold("HTTP 404"),
    TooLarge("HTTP 413"),
    Rejected("HTTP 400", rows=[0]),
    Rejected("HTTP 400"),
    RuntimeError("a fault"),
)

names = st.sampled_from(NAMES)


def refuse_poison(batch: Batch) -> Scripted:
    return Rejected("poison") if any(b"poison" in event for event in batch.events) else None


class PipelineMachine(RuleBasedStateMachine):
    steps = 0

    @initialize(max_age=st.sampled_from([None, timedelta(minutes=5)]))
    def begin(self, max_age: timedelta | None) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.world = World(self.folder, max_age=max_age)
        self.posted: dict[str, set[bytes]] = {stream: set() for stream in STREAMS}
        self.purged = dict.fromkeys(NAMES, 0)
        self.run(self._begin())

    def run(self, step: object) -> None:
        self.runner.run(step)  # type: ignore[arg-type]  # every step is a coroutine

    async def _begin(self) -> None:
        await self.world.__aenter__()
        for name in NAMES:
            place = await self.world.add(name, **OPTIONS[name])
            place.policy = refuse_poison

    def place(self, name: str) -> Place:
        return self.world.sinks[name].place

    # ── rules ────────────────────────────────────────────────────────────────────────────────

    @rule(
        stream=st.sampled_from(STREAMS),
        poison=st.lists(st.booleans(), min_size=1, max_size=12),
    )
    def append(self, stream: str, poison: list[bool]) -> None:
        first = sum(map(len, self.posted.values()))
        events = [
            b'{"k":%d,"n":%d,"kind":"%s"}' % (number % 3, number, b"poison" if bad else b"fine")
            for number, bad in enumerate(poison, first)
        ]
        self.posted[stream].update(events)
        self.run(self.world.post(*events, stream=stream))

    @rule(name=names, answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4))
    def trouble(self, name: str, answers: list[Scripted]) -> None:
        self.place(name).answers(*answers)

    @rule(seconds=st.sampled_from((0.5, 5.0, 40.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.run(self.world.run(seconds, after=self.world.check_accounts))

    @rule(name=names)
    def release(self, name: str) -> None:
        self.place(name).release()

    @rule(name=names, verb=st.sampled_from(VERBS))
    def person(self, name: str, verb: str) -> None:
        getattr(self.world.pipelines[name], verb)()

    @rule(name=names)
    def restart(self, name: str) -> None:
        self.run(self.world.restart(name))

    @rule(how=st.sampled_from(("reopen", "crash")))
    def whole_restart(self, how: str) -> None:
        self.run(getattr(self.world, how)())

    @rule(name=names, globs=st.sampled_from(GLOBS))
    def reload(self, name: str, globs: tuple[str, ...]) -> None:
        self.run(self.world.reload(name, streams=globs, **OPTIONS[name]))

    @rule(name=names)
    def replay(self, name: str) -> None:
        self.run(self.world.store.replay(Selection(sink=name)))

    @rule(name=names)
    def purge(self, name: str) -> None:
        async def purge() -> None:
            self.purged[name] += await self.world.store.purge(Selection(sink=name))

        self.run(purge())

    # ── what always holds ────────────────────────────────────────────────────────────────────

    @invariant()
    def the_accounts_agree(self) -> None:
        type(self).steps += 1
        self.run(self.world.idle())
        self.world.check_accounts()
        for name in NAMES:
            state = self.world.state(name)
            # A letter is there, back in line, or gone: delivered once it was replayed, or purged.
            assert state.dead_letters <= state.dead_lettered - self.purged[name]
            assert set(self.place(name).stored) <= set().union(*self.posted.values())

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.run(self._end())
            finally:
                self.runner.close()
                shutil.rmtree(self.folder)

    async def _end(self) -> None:
        """The trouble is over: whatever is not there was told."""
        try:
            for name in NAMES:
                self.place(name).script.clear()
                self.place(name).release()
                self.world.pipelines[name].resume()
            for name in NAMES:
                await self.world.drained(name)
            for name in NAMES:
                await self._audit(name)
        finally:
            await self.world.__aexit__()

    async def _audit(self, name: str) -> None:
        state = self.world.state(name)
        letters = await self.world.store.dead_letters(Selection(sink=name), 10_000)
        assert len(letters) == state.dead_letters
        there = {*self.place(name).stored, *(letter.event for letter in letters)}
        missing = set().union(*self.posted.values()) - there
        never_routed = sum(map(len, self.posted.values())) - state.routed
        told = state.expired + state.dropped + self.purged[name] + max(never_routed, 0)
        assert len(missing) <= told, missing


# FOREBAY_MACHINE_EXAMPLES=1000 looks longer, and elsewhere each time.
TestPipelineMachine = PipelineMachine.TestCase
TestPipelineMachine.settings = settings(
    max_examples=int(os.environ.get("FOREBAY_MACHINE_EXAMPLES", "15")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="FOREBAY_MACHINE_EXAMPLES" not in os.environ,
    phases=(Phase.explicit, Phase.generate),  # shrinking would take minutes
)
