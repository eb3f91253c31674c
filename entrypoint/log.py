"""The one form of every line this image writes: the form postlogd(8) gives to Postfix's own.

    Nov 20 11:44:00 HOST postern[1]: text

A log collector then needs one parser, and the lines of the entrypoint, supervisor, the keeper and Postfix sort
together. As in Postfix, a severity is a prefix of the text ("warning: ", "error: "), never a field.

What LOG_FORMAT and LOG_ADDRESSES ask for beyond that is done where lines leave for the container's stdout: by PID 1, which
passes on those of the health and logins servers, by the keeper, and by what it starts.
"""

from __future__ import annotations

import os
import select
import time

from entrypoint import runtime

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.maillog.lines import Line
    from entrypoint.maillog.masking import Mask

    Form = Callable[[Line], str]

# pathlib would add 0.9 MB.
# ruff: noqa: PTH123

STDOUT = 1
_BREAKS = "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
_PRINTABLE: dict[int, str] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "?")
_PRINTABLE |= dict.fromkeys(map(ord, _BREAKS), " ")


class _Asked:
    """What this process was told to make of its lines; None: nothing."""

    mask: Mask | None = None
    form: Form | None = None


def use(how: str, addresses: str, salt: str = "") -> None:
    """From now on: `how` is "plain" or "json", `addresses` "full", "partial" or "hashed"."""
    _Asked.mask = _Asked.form = None
    # What nobody asked for costs no memory.
    if addresses != "full":
        from entrypoint.maillog import masking

        _Asked.mask = masking.mask(addresses, salt)
    if how == "json":
        from entrypoint.maillog import forms

        _Asked.form = forms.Json()


def use_unread(environ: Mapping[str, str]) -> None:
    """As settings say that nobody has looked at yet, for what is said before they are right. In doubt addresses stay hidden."""
    how = environ.get("LOG_FORMAT", "").strip().lower()
    addresses = environ.get("LOG_ADDRESSES", "").strip().lower()
    use(how, "full" if addresses in ("", "full") else "partial")


def use_installed(runtime_file: str = runtime.RUNTIME, salt_file: str = runtime.LOG_SALT) -> None:
    """As the relay's configuration has it. Raises OSError."""
    facts = runtime.facts(runtime_file)
    addresses = facts.get("log_addresses", "full")
    salt = ""
    if addresses == "hashed":
        with open(salt_file, encoding="utf-8", errors="surrogateescape") as file:
            salt = file.read()
    use(facts.get("log_format", "plain"), addresses, salt)


def asked() -> tuple[Mask | None, Form | None]:
    """What finished() does, for who passes on so much that it must be done in one go."""
    return _Asked.mask, _Asked.form


def finished(data: bytes) -> bytes:
    """Complete lines as they go out."""
    if _Asked.mask is None and _Asked.form is None:
        return data
    text = data.decode("utf-8", "backslashreplace")
    if _Asked.mask:
        text = _Asked.mask(text)
    if _Asked.form:
        from entrypoint.maillog import lines

        text = "".join(_Asked.form(lines.parse(each)) for each in text.split("\n") if each)
    return text.encode("utf-8", "backslashreplace")


def stamp(when: float | None = None) -> str:
    """Local time and host name, as they begin each line; the host's domain is left out, as postlogd does."""
    local = time.localtime(when)
    return f"{time.strftime('%b %d %H:%M:%S', local)} {os.uname().nodename.partition('.')[0]}"


def line(text: str, program: str = "postern", pid: int | None = None, when: float | None = None) -> bytes:
    """One complete log line, with its line break.

    Text may come from outside (a peer's reply, a file's name): line breaks become spaces and other control
    characters "?", so that nobody can forge a line or drive a terminal.
    """
    return form(f"{program}[{pid or os.getpid()}]: {text}", when)


def form(text: str, when: float | None = None) -> bytes:
    """The same for a text that brings its own `program[pid]: `."""
    return f"{stamp(when)} {text.translate(_PRINTABLE).rstrip()}\n".encode("utf-8", "backslashreplace")


def write(text: str, program: str = "postern", fd: int = STDOUT, pid: int | None = None) -> None:
    """Log one line."""
    pass_on(line(text, program, pid), fd)


def pass_on(data: bytes, fd: int = STDOUT) -> None:
    """Log complete lines that another program made, in the one form."""
    copy(finished(data), fd)


def copy(data: bytes, fd: int = STDOUT) -> None:
    """Write complete lines as they are, all of them, waiting for a reader that is slow.

    A reader that is gone (EPIPE, EIO) costs the lines, never the relay.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            # Somebody who shares the container's stdout made it non-blocking; turning round would burn a core.
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError:
            return
