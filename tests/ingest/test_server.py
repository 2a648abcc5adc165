"""The server's life: where it listens, how many it serves, and how it ends."""

# ruff: noqa: ASYNC240  a look at a file in a temporary directory blocks nobody

import asyncio
import os
import resource
import socket
import stat
from pathlib import Path

import pytest
from ingest_kit import Kitchen, ScriptedLog, answers, connections, request, until
from prometheus_client import CollectorRegistry

from forebay.daemon.ingest.addresses import ListenError
from forebay.daemon.ingest.options import IngestOptions
from forebay.daemon.ingest.server import IngestServer
from forebay.daemon.metrics import IngestMetrics


def server(**settings: str) -> IngestServer:
    options = IngestOptions(**{"listen": "", "socket": ""} | settings)
    return IngestServer(options, ScriptedLog(), IngestMetrics(CollectorRegistry()))


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
async def test_an_address_is_not_listened_on(listen: str, kitchen: Kitchen) -> None:
    async with kitchen.served(listen=listen) as served:
        assert served.server.tcp_address[1] > 0
        assert (await served.ask(request())).status == 200


@pytest.mark.parametrize(
    "listen", ["4680", "127.0.0.1", "::1:4680", "127.0.0.1:port", "127.0.0.1:70000", ":4680"]
)
async def test_a_bad_address_says_nothing(listen: str) -> None:
    with pytest.raises(ListenError, match="write an address and a port"):
        await server(listen=listen).start()


async def test_a_taken_port_says_nothing(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        host, port = served.server.tcp_address
        with pytest.raises(ListenError, match="stop what listens there"):
            await server(listen=f"{host}:{port}").start()


async def test_a_half_started_server_keeps_its_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(ListenError):
        await server(listen=f"127.0.0.1:{port}", socket=str(tmp_path / "no" / "s")).start()
    second = server(listen=f"127.0.0.1:{port}")
    await second.start()
    await second.close()


async def test_the_socket_has_other_permissions(kitchen: Kitchen) -> None:
    async with kitchen.served(socket_mode="0600") as served:
        mode = Path(served.socket).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_the_socket_file_stays_behind(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        path = Path(served.socket)
        assert path.exists()
        served.server.stop_accepting()
        assert not path.exists()


async def test_a_socket_file_left_behind_prevents_the_start(kitchen: Kitchen) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(kitchen.path / "ingest.sock"))
    left.close()
    async with kitchen.served() as served:
        assert (await served.ask(request(), "unix")).status == 200


async def test_a_served_socket_is_taken_over(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        with pytest.raises(ListenError, match="another process serves it"):
            await server(socket=served.socket).start()
        assert (await served.ask(request(), "unix")).status == 200


async def test_a_file_that_is_no_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="no socket"):
        await server(socket=str(path)).start()
    assert path.read_text() == "data"


@pytest.mark.parametrize("name", ["no/such/directory/s.sock", "s" * 120])
async def test_an_impossible_socket_says_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"ingest\.socket"):
        await server(socket=str(tmp_path / name)).start()


async def test_the_socket_of_a_successor_is_removed(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        path = Path(served.socket)
        path.unlink()
        successor = server(socket=str(path))
        await successor.start()
        served.server.stop_accepting()
        assert path.exists()
        await successor.close()
        assert not path.exists()


async def test_an_inherited_socket_is_not_served(kitchen: Kitchen) -> None:
    heir = server(listen="127.0.0.1:1", socket="/nowhere/at/all")
    tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
    tcp.bind(("127.0.0.1", 0))
    path = str(kitchen.path / "given.sock")
    unix.bind(path)
    for sock in (tcp, unix):
        sock.listen()
    await heir.start([tcp, unix])
    try:
        for opening in (
            asyncio.open_connection(*heir.tcp_address),
            asyncio.open_unix_connection(path),
        ):
            reader, writer = await opening
            writer.write(request(headers=(b"Connection: close",)))
            assert answers(await reader.read())[0].status == 200
            writer.close()
            await writer.wait_closed()
    finally:
        await heir.close()
    assert os.path.exists(path)  # noqa: PTH110  it is its giver's to remove


async def test_more_connections_are_served_than_allowed(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(max_connections=2) as served:
        first = await served.connect(listener)
        await served.connect(listener)
        await until(lambda: served.server.connections == 2)
        third_reader, third_writer = await served.connect(listener)  # into the backlog
        third_writer.write(request())
        for _ in range(100):
            await asyncio.sleep(0)
        assert served.server.connections == 2
        assert served.log.entries == []
        # Who waits is served as soon as another leaves.
        first[1].close()
        assert (await third_reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")


async def test_a_lack_of_file_descriptors_ends_the_listener(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as client:
            client.setblocking(False)
            lowest_free = os.dup(client.fileno())
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
            try:
                await asyncio.get_running_loop().sock_connect(client, served.server.tcp_address)
                await until(lambda: not served.server._listeners[0]._accepting)
                writer.write(request())  # those that are there are served all the same
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert served.server.connections == 1
            served.server._listeners[0]._resume()  # what the timer does after a second
            await until(lambda: served.server.connections == 2)


async def test_a_connection_in_the_making_delays_the_end(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        with socket.create_connection(served.server.tcp_address) as client:
            client.setblocking(False)
            listener = served.server._listeners[0]
            listener._accept()
            assert listener._openings
            assert served.server.connections == 1
            await served.server.close()
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_a_listener_that_stops_accepts_one_more(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        address = served.server.tcp_address
        served.server.stop_accepting()
        opening = (
            asyncio.open_connection(*address)
            if listener == "tcp"
            else asyncio.open_unix_connection(served.socket)
        )
        with pytest.raises(OSError, match=r"Connect|No such file|refused"):
            await opening


async def test_an_accepted_request_goes_without_answer(listener: str, kitchen: Kitchen) -> None:
    log = ScriptedLog("hold", "hold")
    async with kitchen.served(log) as served:
        reader, writer = await served.connect(listener)
        writer.write(request() * 2)
        await until(lambda: len(log.held) == 2)
        served.server.stop_accepting()
        draining = asyncio.ensure_future(served.server.drain())
        log.release(*log.held[0])
        for _ in range(10):
            await asyncio.sleep(0)
        assert not draining.done()
        log.release(*log.held[1])
        await draining
        await served.server.close()
        assert [answer.status for answer in answers(await reader.read())] == [200, 200]


async def test_closing_waits_for_a_client_that_does_nothing(
    listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        reader, _ = await served.connect(listener)
        await until(lambda: connections(served))
        await served.server.close()
        assert served.server.connections == 0
        assert await reader.read() == b""


async def test_closing_twice_fails(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        await served.server.close()
        await served.server.drain()
        await served.server.close()
