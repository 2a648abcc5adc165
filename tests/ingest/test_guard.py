import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_kit import EVENT, Kitchen, answers, request

from forebay.daemon.ingest.guard import Guard
from forebay.daemon.ingest.head import Head
from forebay.daemon.ingest.refusal import Refusal


def guard(**changes: object) -> Guard:
    settings: dict[str, object] = {"hosts": (), "origins": (), "token": "", "check_host": True}
    return Guard(**settings | changes)


def head(version: str = "1.1", **fields: str) -> Head:
    return Head(
        b"POST",
        b"/",
        {name.replace("_", "-").encode(): text.encode() for name, text in fields.items()},
        version,
    )


def refusal(guard: Guard, head: Head) -> int | None:
    for _ in range(2):  # what it remembers must not change its mind
        try:
            guard.check_source(head)
            guard.check_token(head)
        except Refusal as refused:
            status = refused.status
        else:
            status = None
    return status


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:4680",
        "LocalHost:80",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1:4680",
        "127.200.3.4",
        "[::1]",
        "[::1]:4680",
        "[0:0:0:0:0:0:0:1]",
    ],
)
def test_a_name_of_this_machine_is_refused(host: str) -> None:
    assert refusal(guard(), head(host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:4680",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0.0.0.0",  # noqa: S104  a name to refuse, not to bind
        "10.0.0.1",
        "[::]",
        "[::ffff:10.0.0.1]",
        "::1:4680",
        "localhost@evil.example",
        "localhost evil.example",
        "evil.example:localhost",
    ],
)
def test_a_name_that_was_made_to_point_here_passes(host: str) -> None:
    assert refusal(guard(), head(host=host)) == 403


@pytest.mark.parametrize("host", ["forebay.internal", "Forebay.Internal:4680", "[fd00::5]:1"])
def test_an_allowed_host_is_refused(host: str) -> None:
    allowing = guard(hosts=("forebay.internal", "FD00::5"))
    assert refusal(allowing, head(host=host)) is None
    assert refusal(allowing, head(host="sub." + host)) == 403


def test_http_1_1_without_a_host_passes() -> None:
    assert refusal(guard(), head()) == 400
    assert refusal(guard(), head(version="1.0")) is None
    assert refusal(guard(check_host=False), head()) is None


def test_two_hosts_pass() -> None:
    assert refusal(guard(), head(host="localhost, evil.example")) == 400


@given(st.text(st.characters(codec="latin-1"), max_size=20))
def test_an_odd_host_crashes_the_guard(host: str) -> None:
    odd = Head(b"POST", b"/", {b"host": host.encode("latin-1")})
    assert refusal(guard(), odd) in (None, 400, 403)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", None),
        ("HTTPS://App.Example", None),
        ("https://app.example:8443", 403),
        ("http://app.example", 403),
        ("https://app.example.evil", 403),
        ("http://localhost", 403),
        ("null", 403),
        ("", 403),
        ("https://app.example, https://evil.example", 403),
    ],
)
@pytest.mark.parametrize("check_host", [True, False])
def test_an_origin_is_mistaken(origin: str, status: int | None, check_host: bool) -> None:
    allowing = guard(origins=("https://app.example/",), check_host=check_host)
    assert refusal(allowing, head(host="localhost", origin=origin)) == status


@given(st.text(st.characters(codec="latin-1"), max_size=20))
def test_another_token_passes(given: str) -> None:
    asking = guard(token="sesame", check_host=False)
    fields = {b"authorization": b"Bearer " + given.encode("latin-1")}
    assert refusal(asking, Head(b"POST", b"/", fields)) == 401


def test_the_guard_remembers_hosts_without_end() -> None:
    remembering = guard()
    for number in range(2000):
        remembering.check_source(head(host=f"h{number}.localhost"))
    assert len(remembering._good) <= 256


async def test_a_proxys_target_escapes_the_guard(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        for host, status in ((b"localhost:1", 200), (b"[::1]", 200), (b"evil.example", 403)):
            path = b"HTTP://%s/v1/events/bookings?atomic=true" % host
            assert (await served.ask(request(path=path))).status == status
        path = b"http://localhost/v1/events/bookings"
        assert (await served.ask(request(path=path, host=b"evil.example"))).status == 403


async def test_two_hosts_in_two_lines_pass(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(request(headers=(b"Host: localhost",)))
        assert answer.status == 400


async def test_an_allowed_page_cannot_post(listener: str, kitchen: Kitchen) -> None:
    origin = b"Origin: https://app.example"
    asks = (origin, b"Access-Control-Request-Method: POST")
    wants = (*asks, b"Access-Control-Request-Headers: content-type,authorization")
    async with kitchen.served(allowed_origins=["https://app.example"], token="t") as served:
        question = request(b"", method=b"OPTIONS", content_type=None, length=False, headers=wants)
        post = request(headers=(origin, b"Authorization: Bearer t"))
        late = request(headers=(origin,))
        first, second, third = answers(await served.talk(question + post + late, listener))
        assert (first.status, second.status, third.status) == (204, 200, 401)
        assert first.headers["access-control-allow-methods"] == "POST"
        assert first.headers["access-control-allow-headers"] == "content-type,authorization"
        for answer in (first, second, third):
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert answer.headers["vary"] == "Origin"


async def test_another_page_learns_that_it_could_post(kitchen: Kitchen) -> None:
    wants = (b"Origin: https://evil.example", b"Access-Control-Request-Method: POST")
    async with kitchen.served(allowed_origins=["https://app.example"]) as served:
        question = request(b"", method=b"OPTIONS", length=False, headers=wants)
        answer = await served.ask(question)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_the_permission_of_one_request_reaches_the_next(kitchen: Kitchen) -> None:
    async with kitchen.served(allowed_origins=["https://app.example"]) as served:
        data = request(headers=(b"Origin: https://app.example",)) + request(EVENT)
        _, second = answers(await served.talk(data))
        assert "access-control-allow-origin" not in second.headers
