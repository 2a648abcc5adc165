"""Where Power BI may send us on to, with our token and our rows."""

from yarl import URL

_SERVICE = (".powerbi.com", ".analysis.windows.net")


def next_url(base: URL, location: str | None, configured: URL) -> URL | None:
    """The target of a 307 or 308, or None when it must not be followed.

    Allowed are Power BI's own hosts over https, and the very scheme, host and port that the
    operator configured. Never from https to http.
    """
    try:
        target = base.join(URL(location or "", encoded=True))
    except ValueError:
        return None
    if not location or not target.raw_host or target.raw_user or target.raw_password:
        return None
    if target.origin() == configured.origin():
        return target
    ours = target.raw_host.lower().rstrip(".").endswith(_SERVICE)
    return target if ours and target.scheme == "https" else None
