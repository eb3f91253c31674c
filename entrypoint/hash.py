"""The `hash` verb: makes a line of a users file, whose password no command line and no history has seen."""

from __future__ import annotations

import getpass
import re
import sys

from entrypoint.logins import libcrypt

EX_USAGE = 64
_LONGEST = 512


def make(arguments: list[str]) -> int:
    """Prints `login:hash` for the login that is the one argument.

    The password is asked for twice on a terminal, or is the first line of the standard input.
    """
    if len(arguments) != 1 or not _is_login(arguments[0]):
        print("usage: postern hash LOGIN", file=sys.stderr)
        print(
            "a login has no spaces, colons, commas and semicolons; the password is asked for", file=sys.stderr
        )
        return EX_USAGE
    try:
        password = _password()
    except (ValueError, EOFError, KeyboardInterrupt) as error:
        print(f"postern hash: {str(error) or 'no password was given'}", file=sys.stderr)
        return 1
    hashed = libcrypt.hashed(password, libcrypt.setting()) or b""
    print(f"{arguments[0]}:{hashed.decode('ascii')}")
    return 0


def _is_login(text: str) -> bool:
    return bool(re.fullmatch(r"[^\s:,;#-][^\s:,;]*", text)) and text.isprintable()


def _password() -> bytes:
    """Raises ValueError("...")."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ").encode("utf-8", "surrogateescape")
        if getpass.getpass("Again: ").encode("utf-8", "surrogateescape") != password:
            raise ValueError("the passwords differ")
    else:
        password = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise ValueError("no password was given")
    if len(password) > _LONGEST or b"\0" in password:
        raise ValueError(f"a password may have {_LONGEST} bytes at most, and no NUL among them")
    return password
