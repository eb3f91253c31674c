"""From a request to an answer; no sockets here."""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.health.checks import Check

    # A path is answered by checks, or by a text and its media type.
    Routes = Mapping[str, Callable[[], list[Check] | tuple[str, str]]]
    Viewer = Callable[["Request"], bytes]

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
# Of every answer, whatever a browser might take it for: it loads nothing, runs nothing, is framed and remembered nowhere.
# Without Cross-Origin-Opener-Policy: over plain HTTP browsers ignore it, and complain of it in their console.
_HEADERS = (
    "Cache-Control: no-store\r\n"
    "Content-Security-Policy: default-src 'none'; {sources}base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Permissions-Policy: camera=(), geolocation=(), microphone=(), payment=(), usb=()\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
)


class Request:
    """What the page needs to know of one; `headers` are the lines below the first, `client` is an address."""

    __slots__ = ("_headers", "client", "query")

    def __init__(self, query: str, headers: str, client: str) -> None:
        self.query = query
        self.client = client
        self._headers = headers

    @property
    def host(self) -> str:
        """By which name the client knows the relay, perhaps with the port; "" if it does not say."""
        return _header(self._headers, "host")

    @property
    def credentials(self) -> str | None:
        """Of the Basic scheme (RFC 7617), as they came."""
        scheme, _, rest = _header(self._headers, "authorization").partition(" ")
        return rest.strip() if scheme.lower() == "basic" else None


def answer(head: bytes, routes: Routes, view: Viewer | None = None, client: str = "") -> bytes:
    """The complete response to a request's head (RFC 9112): 503 if a check of the path failed, else 200.

    `view` answers for `/`.
    """
    # A line may end without CR (RFC 9112, 2.2).
    first, _, headers = head.decode("latin-1").replace("\r\n", "\n").partition("\n")
    try:
        method, target, _ = first.split(" ")
    except ValueError:
        return response(400, "cannot read this request\n")
    if method not in ("GET", "HEAD"):
        return response(405, "only GET and HEAD\n", extra="Allow: GET, HEAD\r\n")
    scheme, found, rest = target.partition("://")
    if found and scheme.lower() in ("http", "https"):
        # As to a proxy (RFC 9112, 3.2.2): what it names counts, and not the Host.
        host, slash, rest = rest.partition("/")
        headers = f"Host: {host}\n{headers}"
        target = f"/{rest}" if slash else "/"
    path, _, query = target.partition("?")
    if path == "/" and view:
        whole = view(Request(query, headers, client))
    elif path in routes:
        whole = _checked(routes[path](), query, headers)
    else:
        whole = response(404, "here are: " + " ".join([*(["/"] if view else []), *routes]) + "\n")
    if method == "HEAD":
        return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return whole


def _checked(checks: list[Check] | tuple[str, str], query: str, headers: str) -> bytes:
    if isinstance(checks, tuple):
        return response(200, *checks)
    status = 200 if all(check.ok for check in checks) else 503
    if "format=json" in query.split("&") or _wants_json(headers):
        return response(status, as_json(checks), "application/json")
    return response(status, "".join(f"{check}\n" for check in checks))


def response(
    status: int,
    text: str | bytes,
    kind: str = "text/plain; charset=utf-8",
    extra: str = "",
    sources: str = "",
) -> bytes:
    """`extra` are more headers; `sources` is what a page may use (directives of CSP, each with a semicolon behind)."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(content)}\r\n"
        f"{extra}"
        f"{_HEADERS.format(sources=sources)}"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode("ascii") + content


def as_json(checks: list[Check]) -> str:
    well = all(check.ok for check in checks)
    rows = [
        {"name": check.name, "ok": check.ok, "warning": check.warning, "detail": check.detail}
        for check in checks
    ]
    # Imported for those who ask for it: it costs 1 MB for as long as the program lives.
    import json

    return json.dumps({"ok": well, "checks": rows}) + "\n"


def _wants_json(headers: str) -> bool:
    return "application/json" in _header(headers, "accept").lower()


def _header(headers: str, wanted: str) -> str:
    """Its value, of several that of the first; "" if there is none."""
    for header in headers.split("\n"):
        name, _, value = header.partition(":")
        if name.strip().lower() == wanted:
            return value.strip()
    return ""
