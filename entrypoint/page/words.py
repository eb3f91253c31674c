"""Numbers and names in the words of the page."""

from __future__ import annotations

import time

REASONS = {
    "authentication": "login refused",
    "connection_lost": "connection lost",
    "connection_refused": "connection refused",
    "dns": "name not found",
    "greylisted": "greylisted",
    "held": "on hold",
    "other": "other reasons",
    "relay_itself": "the relay itself",
    "reply_to_connection": "turned away",
    "reply_to_data": "put off at DATA",
    "reply_to_hello": "put off at the greeting",
    "reply_to_message": "message put off",
    "reply_to_recipient": "recipient put off",
    "reply_to_sender": "sender put off",
    "timeout": "no answer in time",
    "tls": "TLS failed",
    "unreachable": "unreachable",
    "untried": "being tried",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def age(seconds: float) -> str:
    """12 s, 4 min, 3 h 5 min, 2 d 7 h."""
    seconds = max(seconds, 0)
    for number, (length, unit) in enumerate(_UNITS):
        if seconds >= length:
            whole, rest = divmod(int(seconds), length)
            smaller, name = _UNITS[number + 1] if number < 2 else (1, "s")
            more = rest // smaller if number < 2 and whole < 10 else 0
            return f"{whole} {unit}" + (f" {more} {name}" if more else "")
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.2g} s"


def amount(number: int) -> str:
    return f"{number:,}"


def messages(number: int) -> str:
    return f"{amount(number)} message" + ("" if number == 1 else "s")


def clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def minute(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))


def day(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def iso(moment: float) -> str:
    """For <time datetime>."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def reason(name: str) -> str:
    return REASONS.get(name, name)
