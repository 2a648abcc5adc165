"""Everything the emulator holds: datasets, tokens, faults, counts."""

import asyncio
from collections.abc import Callable

from forebay.sinks.powerbi.emulator.faults import Fault, FaultKind, Faults
from forebay.sinks.powerbi.emulator.options import EmulatorOptions, Retention, Schema
from forebay.sinks.powerbi.emulator.refusal import not_found
from forebay.sinks.powerbi.emulator.stats import Stats
from forebay.sinks.powerbi.emulator.table import Table
from forebay.sinks.powerbi.emulator.tokens import Tokens
from forebay.sinks.powerbi.emulator.windows import Rates

PUSH_URL_TABLE = "RealTimeData"
"""The table behind a push URL."""


class Model:
    """One dataset (semantic model): its tables, and the windows that all its writers share."""

    def __init__(
        self, dataset: str, name: str, options: EmulatorOptions, retention: Retention
    ) -> None:
        self.id = dataset
        self.name = name
        self.retention = retention
        self.tables: dict[str, Table] = {}
        self.rates = Rates(options)
        self._options = options

    def __repr__(self) -> str:
        return f"Model({self.id!r}, {list(self.tables.values())!r})"

    def define(self, name: str, schema: Schema | None) -> Table:
        """Add a table, or change the schema of the one there is."""
        if name in self.tables:
            self.tables[name].redefine(schema)
        else:
            self.tables[name] = Table(name, self._options, self.retention, schema)
        return self.tables[name]

    def table(self, name: str) -> Table:
        """The table `name`, made on first use. Raises `Refused` for an unknown one when strict."""
        if name not in self.tables:
            if self._options.strict_datasets:
                raise not_found(f"Table [{name}] is not found in dataset [{self.id}].")
            return self.define(name, None)
        return self.tables[name]

    @property
    def has_large_table(self) -> bool:
        return any(table.is_large for table in self.tables.values())


class World:
    """What all requests share. `clock` gives seconds that never step back."""

    def __init__(self, options: EmulatorOptions, clock: Callable[[], float]) -> None:
        self.options = options
        self.clock = clock
        self.tokens = Tokens(options.token_lifetime.total_seconds(), clock)
        self.faults = Faults()
        self.stats = Stats()
        self.models: dict[str, Model] = {}
        self._changed = asyncio.Event()
        self._cleared = asyncio.Event()
        self._seed()

    def __repr__(self) -> str:
        return f"World({list(self.models.values())!r}, {self.faults!r})"

    def _seed(self) -> None:
        for dataset, tables in self.options.datasets.items():
            model = self.create(dataset, dataset, self.options.retention)
            for name, schema in tables.items():
                model.define(name, schema)

    def create(self, dataset: str, name: str, retention: Retention) -> Model:
        self.models[dataset] = Model(dataset, name, self.options, retention)
        return self.models[dataset]

    def model(self, dataset: str) -> Model:
        """The dataset, made on first use. Raises `Refused` for an unknown one when strict."""
        if dataset not in self.models:
            if self.options.strict_datasets:
                raise not_found(f"Dataset [{dataset}] is not Push API dataset.")
            return self.create(dataset, dataset, self.options.retention)
        return self.models[dataset]

    def reset(self) -> None:
        """Forget rows, datasets made on use, windows and counts; tokens and faults stay."""
        self.models.clear()
        self._seed()
        self.stats.clear()
        self.changed()

    def fault(self, fault: Fault) -> None:
        if fault.kind is FaultKind.EXPIRED_TOKEN:
            self.tokens.expire_all()
        else:
            self.faults.add(fault)

    def clear_faults(self) -> None:
        """No more faults, and what hangs goes on."""
        self.faults.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    async def faults_cleared(self) -> None:
        """Wait until somebody clears the faults."""
        await self._cleared.wait()

    def changed(self) -> None:
        """Wake those who wait for something to happen."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met` is true; asked whenever a request arrives, stores or leaves."""
        while not met():
            await self._changed.wait()
