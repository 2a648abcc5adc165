"""The admin plane's listener."""

from aiohttp import web


class AdminServer:
    """Serves an application from `start` to `close`."""

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        self.address: tuple[str, int] | None = None
        """Where it listens; None while it does not."""

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        found = self._runner.addresses[0]
        self.address = (found[0], found[1])

    async def close(self) -> None:
        """End."""
        await self._runner.cleanup()
        self.address = None
