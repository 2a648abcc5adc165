"""What a web framework's handler costs that does nothing at all: aiohttp's server, no storage."""

import socket

from aiohttp import web


async def handler(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"status": "success"})


def main() -> None:
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_post("/{path:.*}", handler)
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(sock.getsockname()[1], flush=True)
    web.run_app(app, sock=sock, print=None, access_log=None)


if __name__ == "__main__":
    main()
