"""The admin plane's listener."""

import logging

from aiohttp import web

# What a client does wrong is its own affair, and not worth a traceback; what goes wrong in a
# handler is logged by the application.
_QUIET = logging.getLogger("forebay.admin.protocol")
_QUIET.setLevel(logging.CRITICAL)


class AdminServer:
    """Serves an application from `start` to `close`."""

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=1.0, logger=_QUIET
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
