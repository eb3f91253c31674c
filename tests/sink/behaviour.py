"""What the sink does with a client, as one immutable value that HTTP and the command line replace.

Every point where a server answers is a *stage*. At each stage the sink can answer otherwise, wait, hang, or drop
the line, so a new kind of misbehaviour is a new value and not new code.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Self

STAGES = ("connect", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "message")
"""`data` is the answer to the DATA command, `message` the one after the final dot, `connect` the greeting."""

OFFERS = ("tls", "always", "never")
MECHANISMS = ("LOGIN", "PLAIN")


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of a friendly server: everything offered, nothing demanded, everything accepted."""

    require_tls: bool = False
    """530 to everything but EHLO, HELO, NOOP, QUIT and STARTTLS until the line is encrypted."""
    require_auth: bool = False
    """530 to MAIL, RCPT, DATA and VRFY until the client has logged in."""
    starttls: bool = True
    """False strips STARTTLS as a hostile middlebox does: not advertised, and 502 when tried anyway."""
    auth: str = "tls"
    """Where AUTH is offered: `tls` (encrypted lines only), `always` (in clear too), `never`."""
    mechanisms: list[str] = field(default_factory=lambda: list(MECHANISMS))
    user: str | None = None
    """The only login that is accepted; None accepts any."""
    password: str | None = None
    """The only password that is accepted; None accepts any. Compared byte by byte, as UTF-8."""
    replies: dict[str, str] = field(default_factory=dict)
    """Stage to reply, such as {"mail": "451 4.3.0 try later"}. 4xx and 5xx refuse; `connect` then hangs up."""
    recipients: dict[str, str] = field(default_factory=dict)
    """Recipient address to reply: refuses one recipient of several."""
    delay: dict[str, float] = field(default_factory=dict)
    """Stage to seconds waited before the answer."""
    hang: list[str] = field(default_factory=list)
    """Stages that are not answered until they are taken out of this list."""
    drop: list[str] = field(default_factory=list)
    """Stages at which the line is cut instead of answered."""
    record_dropped: bool = False
    """Whether a message whose line is cut at `message` counts as received: the server's disk had it, or not."""
    smtputf8: bool = True
    """Offer SMTPUTF8 (RFC 6531). Takes effect for the next connection."""
    size_limit: int = 64 * 1024 * 1024
    """Bytes, advertised as SIZE (RFC 1870). Takes effect for the next connection."""

    def changed(self, changes: Mapping[str, object]) -> Self:
        """Replace some fields. Raises ValueError that names every problem."""
        unknown = sorted(set(changes) - set(_CHECKS))
        problems = [f"{name}: no such behaviour" for name in unknown]
        problems += [
            f"{name}: must be {rule}"
            for name, (accepts, rule) in _CHECKS.items()
            if name in changes and not accepts(changes[name])
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return replace(self, **changes)  # type: ignore[arg-type]  # _CHECKS has just proved the types

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    def for_the_log(self) -> dict[str, object]:
        """As JSON, without the password: logs travel further than tests."""
        return self.as_json() | {"password": None if self.password is None else "(set)"}


def parse(name: str, text: str) -> object:
    """A field's value as typed on the command line: a login or password and `auth` verbatim, all others as JSON.

    Raises ValueError.
    """
    if name in ("user", "password", "auth"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: {text!r} is not JSON ({error})") from None


def _is_reply(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[2-5][0-9]{2} [ -~]+", value) is not None


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _each_stage(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: (
        isinstance(value, dict)
        and set(value) <= set(STAGES)
        and all(accepts(item) for item in value.values())
    )


def _list_of(allowed: tuple[str, ...]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and set(value) <= set(allowed)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


_YES_NO = (_is_bool, "true or false")
_REPLY = '"code text", code 200 to 599, text in printable ASCII'
_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "require_tls": _YES_NO,
    "require_auth": _YES_NO,
    "starttls": _YES_NO,
    "auth": (lambda value: value in OFFERS, f"one of {', '.join(OFFERS)}"),
    "mechanisms": (_list_of(MECHANISMS), f"a list of {', '.join(MECHANISMS)}"),
    "user": (_is_text_or_none, "text or null"),
    "password": (_is_text_or_none, "text or null"),
    "replies": (_each_stage(_is_reply), f"an object of stage ({', '.join(STAGES)}) to {_REPLY}"),
    "recipients": (
        lambda value: isinstance(value, dict) and all(map(_is_reply, value.values())),
        f"an object of address to {_REPLY}",
    ),
    "delay": (_each_stage(_is_seconds), f"an object of stage ({', '.join(STAGES)}) to seconds"),
    "hang": (_list_of(STAGES), f"a list of {', '.join(STAGES)}"),
    "drop": (_list_of(STAGES), f"a list of {', '.join(STAGES)}"),
    "record_dropped": _YES_NO,
    "smtputf8": _YES_NO,
    "size_limit": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
        "bytes",
    ),
}
assert set(_CHECKS) == {each.name for each in fields(Behaviour)}, "every behaviour needs its check"
