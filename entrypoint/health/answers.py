"""From a request to an answer; no sockets here."""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.health.checks import Check

    Routes = Mapping[str, Callable[[], list[Check]]]

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def answer(head: bytes, routes: Routes) -> bytes:
    """The complete response to a request's head (RFC 9112): 200 if all checks of the path are well, else 503."""
    first, _, rest = head.decode("latin-1").partition("\r\n")
    try:
        method, target, _ = first.split(" ")
    except ValueError:
        return response(400, "cannot read this request\n")
    path, _, query = target.partition("?")
    if method not in ("GET", "HEAD"):
        return response(405, "only GET and HEAD\n", extra="Allow: GET, HEAD\r\n")
    if path not in routes:
        return response(404, "here are: " + " ".join(routes) + "\n", body=method == "GET")
    checks = routes[path]()
    status = 200 if all(check.ok for check in checks) else 503
    if "format=json" in query.split("&") or _wants_json(rest):
        return response(status, as_json(checks), "application/json", body=method == "GET")
    return response(status, "".join(f"{check}\n" for check in checks), body=method == "GET")


def response(
    status: int, text: str, kind: str = "text/plain; charset=utf-8", *, body: bool = True, extra: str = ""
) -> bytes:
    content = text.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(content)}\r\n"
        f"{extra}"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode("ascii") + (content if body else b"")


def as_json(checks: list[Check]) -> str:
    well = all(check.ok for check in checks)
    rows = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
    # Imported for those who ask for it: it costs 1 MB for as long as the program lives.
    import json

    return json.dumps({"ok": well, "checks": rows}) + "\n"


def _wants_json(headers: str) -> bool:
    for header in headers.split("\r\n"):
        name, _, value = header.partition(":")
        if name.strip().lower() == "accept" and "application/json" in value.lower():
            return True
    return False
