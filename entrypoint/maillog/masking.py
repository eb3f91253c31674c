"""Addresses of people in the log, made unreadable: in facts and in free text alike, whoever wrote the line.

Whatever looks like an address is taken for one, message ids among them: those hold addresses often enough. Its domain
stays, by which an operator knows whose mail it is. What is no address stays as it is, as does a login without "@".
"""

from __future__ import annotations

import re
from _blake2 import blake2b
from functools import lru_cache

from entrypoint.maillog import cutting

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing, which costs 0.6 MB
if TYPE_CHECKING:
    from collections.abc import Callable

    Mask = Callable[[str], str]

# In <> anything is an address's, spaces among it; elsewhere a row of words, some perhaps in quotes, up to "@"; or one in
# quotes that somebody quotes. No start is tried within a row, nor a quote where one may just have ended: a stranger's
# line costs no more than its length.
_QUOTED = r'"(?:[^"\\\n]|\\.)*+"'
_WORD = r'[^\s<>()\[\],;:"@]'
_DOMAIN = r'\[[^]\s]*\]|[^\s<>()\[\],;:"\'@]+'
_ADDRESS = re.compile(
    rf'<((?:[^<>"\n]|{_QUOTED})+)@([^<>@"\s]*)>'
    rf'|"({_QUOTED})@({_DOMAIN})'
    rf'|(?<!{_WORD})((?<!")(?:{_WORD}|{_QUOTED})++|{_WORD}++)@({_DOMAIN})'
)
# The usual one, which is found in a fifth of the time.
_USUAL = re.compile(r'<([^<>"@\s]+)@([^<>"@\s]+)>')
# What a client left to the relay to complete: to=<ann>, orig_to=<ann>, from=<ann>.
_LOCAL = re.compile(r"=<(?:(?<=to=<)|(?<=from=<))([^<>@]+)>")
# Names before "=" in Postfix's lines and ours; any other word with a "=" is part of an address (VERP).
_NAMES = frozenset({"sasl_username", "sasl_sender", "to", "from", "orig_to", "user", "username", "login"})
# What a line in a table must look like, as a problem with it says: nobody's (RFC 2606), and of no help if it is hidden.
_EXAMPLE = ("user", "example.com")
# Bytes of the longest text that Postfix logs; what is longer is cut there. A character has four at the most.
_CUT = 2000
# As many addresses as a busy relay sees at a time.
_REMEMBERED = 4096


def mask(how: str, salt: str = "") -> Mask | None:
    """What makes a text of any number of lines safe to show: "full" (None: as it is), "partial" or "hashed".

    Hashed is keyed with the salt, by which alone an address can be found again: it has the same 12 digits everywhere,
    in whichever case it is written.
    """
    if how == "full":
        return None
    local = _but_for_the_example(_partial if how == "partial" else _hashed(salt))

    def usual(found: re.Match[str]) -> str:
        text, domain = found.groups()
        return f"<{local(text, domain)}@{domain}>"

    def any_other(found: re.Match[str]) -> str:
        if found[1]:
            return f"<{local(found[1], found[2])}@{found[2]}>"
        if found[3]:
            return f'"{local(found[3], found[4])}@{found[4]}'
        before, text = _split(found[5])
        return f"{before}{local(text, found[6])}@{found[6]}"

    def in_line(line: str) -> str:
        line = _without_cut_end(line)
        if "@" in line:
            masked, count = _USUAL.subn(usual, line)
            line = masked if count == line.count("@") else _ADDRESS.sub(any_other, line)
        if "=<" in line:
            # Postfix may say the name again in its reason.
            for name in _LOCAL.findall(line):
                line = line.replace(f"<{name}>", f"<{local(name, '')}>")
        return line

    return lambda text: "\n".join(map(in_line, text.split("\n")))


def _without_cut_end(line: str) -> str:
    if len(line) < _CUT // 4 or len(line.encode("utf-8", "surrogateescape")) < _CUT:
        return line
    return f"{cutting.whole(line)}***"


def _split(text: str) -> tuple[str, str]:
    """What stands before an address without a space between, and the part of it before "@"."""
    name, equals, rest = text.partition("=")
    before = name + equals if equals and name in _NAMES else ""
    rest = text[len(before) :]
    bare = rest.lstrip("'`") or rest
    return before + rest[: len(rest) - len(bare)], bare


def _but_for_the_example(hide: Callable[[str, str], str]) -> Callable[[str, str], str]:
    return lambda text, domain: text if (text, domain) == _EXAMPLE else hide(text, domain)


def _partial(local: str, _: str) -> str:
    # No other sign can be first: it might end what it stands in.
    return next((c for c in local if c.isalnum()), "") + "***"


def _hashed(salt: str) -> Callable[[str, str], str]:
    key = blake2b(salt.encode("utf-8", "surrogateescape")).digest()

    @lru_cache(_REMEMBERED)
    def local(text: str, domain: str) -> str:
        whole = f"{text}@{domain}".lower().encode("utf-8", "surrogateescape")
        return blake2b(whole, digest_size=6, key=key).hexdigest()

    return local
