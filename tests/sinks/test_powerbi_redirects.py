import pytest
from yarl import URL

from forebay.sinks.powerbi.redirects import next_url

API = URL("https://api.powerbi.com/v1.0/myorg/rows")
LOCAL = URL("http://127.0.0.1:4690/v1.0/myorg/rows")


@pytest.mark.parametrize(
    ("configured", "location", "target"),
    [
        (API, "/other", "https://api.powerbi.com/other"),
        (API, "https://api.powerbi.com:443/x", None),
        (API, "https://wabi-us.analysis.windows.net/x?k=%2F", None),
        (LOCAL, "/x", "http://127.0.0.1:4690/x"),
        (LOCAL, "http://127.0.0.1:4690/x", None),
    ],
)
def test_redirects_of_the_service_itself_are_followed(
    configured: URL, location: str | None, target: str | None
):
    assert next_url(configured, location, configured) == URL(target or location, encoded=True)


@pytest.mark.parametrize(
    ("configured", "location"),
    [
        (API, None),
        (API, ""),
        (API, "http://api.powerbi.com/x"),
        (API, "http://wabi.analysis.windows.net/x"),
        (API, "https://example.com/x"),
        (API, "https://powerbi.com.example.com/"),
        (API, "https://evilpowerbi.com/"),
        (API, "https://example.com/.powerbi.com"),
        (API, "https://example.com#.powerbi.com"),
        (API, "https://example.com\\.powerbi.com"),
        (API, "https://a.powerbi.com@example.com/"),
        (API, "https://user:pass@a.powerbi.com/"),
        (API, "//example.com/x"),
        (API, "ftp://a.powerbi.com/x"),
        (API, "https://[::1/x"),
        (LOCAL, "http://127.0.0.1:4691/x"),
        (LOCAL, "https://127.0.0.1:4690/x"),
        (LOCAL, "http://localhost:4690/x"),
        (LOCAL, "javascript:alert(1)"),
    ],
)
def test_nothing_is_carried_elsewhere(configured: URL, location: str | None):
    assert next_url(configured, location, configured) is None
