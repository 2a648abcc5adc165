"""What a person can do to sinks: pause, resume, probe, forget, and take over the configuration."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from forebay.buffer import Store
from forebay.daemon.admin.guard import failure
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.settings import SettingsError

Reload = Callable[[], Awaitable[dict[str, list[str]]]]


class SinkApi:
    """`pipelines` gives those that run now, by the name of their sink."""

    def __init__(
        self, store: Store, pipelines: Callable[[], Mapping[str, Pipeline]], reload: Reload
    ) -> None:
        self._store = store
        self._pipelines = pipelines
        self._reload = reload

    def routes(self) -> list[web.RouteDef]:
        """The paths, for an application."""
        return [
            web.post("/v1/sinks/{sink}/{verb:pause|resume|probe}", self.control),
            web.post("/v1/sinks/{sink}/forget", self.forget),
            web.post("/v1/reload", self.reload),
        ]

    async def control(self, request: web.Request) -> web.Response:
        """Pause, resume or probe one sink."""
        name, verb = request.match_info["sink"], request.match_info["verb"]
        pipeline = self._pipelines().get(name)
        if pipeline is None:
            return self._unknown()
        getattr(pipeline, verb)()
        state = pipeline.status().state
        return web.json_response({"status": "success", "sink": name, "state": state})

    async def forget(self, request: web.Request) -> web.Response:
        """Let go of a sink that left the configuration, with all that waits for it."""
        name = request.match_info["sink"]
        if name in self._pipelines():
            return failure(
                409, "this sink is configured: take it out of the file and reload, then forget it"
            )
        if name not in self._store.ledger.sinks:
            return self._unknown()
        sink = self._store.sink(name)
        await self._store.forget(name)
        report = {"forgotten_events": sink.lag, "forgotten_dead_letters": sink.dead_letters}
        return web.json_response({"status": "success", "sink": name, **report})

    async def reload(self, _request: web.Request) -> web.Response:
        """Take over the configuration as it is now, or refuse it whole."""
        try:
            report = await self._reload()
        except SettingsError as error:
            mistakes = "; ".join(error.lines)
            return failure(400, f"nothing has changed: {mistakes}")
        return web.json_response({"status": "success", **report})

    def _unknown(self) -> web.Response:
        known = ", ".join(sorted(self._store.ledger.sinks)) or "none"
        return failure(404, f"there is no sink of that name; there are: {known}")
