"""The password hashes of crypt(5) that a users file may hold, told by their form: nothing is computed here."""

from __future__ import annotations

import re

_ALPHABET = "[./0-9A-Za-z]"
# Each as crypt(5) describes it, whole: what a copy cut off would refuse every password, and nobody would know why.
_FORMS = {
    "$y$": rf"\$y\${_ALPHABET}+\${_ALPHABET}{{1,86}}\${_ALPHABET}{{43}}",
    "$6$": rf"\$6\$(rounds=[1-9][0-9]{{3,8}}\$)?[^$:\s]{{1,16}}\${_ALPHABET}{{86}}",
    "$5$": rf"\$5\$(rounds=[1-9][0-9]{{3,8}}\$)?[^$:\s]{{1,16}}\${_ALPHABET}{{43}}",
    "$2b$": rf"\$2b\$(0[4-9]|[12][0-9]|3[01])\${_ALPHABET}{{53}}",
}
_FORMS |= {name: _FORMS["$2b$"].replace("2b", name[1:3]) for name in ("$2a$", "$2y$")}
# What costs more is computed for whoever guesses: two at a time would hold up all other logins, or take all memory.
_CHEAP = {
    "$y$": r"\$y\$j[789AB][5T]\$",
    "$6$": r"\$6\$(?!rounds=[0-9]{7})",
    "$5$": r"\$5\$(?!rounds=[0-9]{7})",
    "$2b$": r"\$2b\$(0|1[0-5])",
}
_CHEAP |= {name: _CHEAP["$2b$"].replace("2b", name[1:3]) for name in ("$2a$", "$2y$")}
_LIMITS = {"$y$": "64 MB (parameters j7 to jB)", "$6$": "999999 rounds", "$5$": "999999 rounds"}
_NAMES = {"$y$": "yescrypt", "$6$": "SHA-512", "$5$": "SHA-256"}
_MAKE = "`postern hash LOGIN` makes a line"


def hash_fault(text: str) -> str:
    """What is wrong with a text that shall be a password's hash, as a rule that it breaks; "" if nothing is.

    The text itself, which may be a password, is never part of it.
    """
    for prefix in _FORMS:
        if text.startswith(prefix):
            return _fault(text, prefix)
    if text.startswith("{"):
        return "must be a crypt(5) hash without the {SCHEME} that Dovecot and LDAP put before it"
    if text.startswith("$$"):
        return "must have single dollar signs: they are doubled only in a compose file"
    if re.match(r"\$(1|apr1|md5|3|sha1|2)[$,]", text):
        return f"must be yescrypt, SHA-512, SHA-256 or bcrypt: this kind of hash is too weak ({_MAKE})"
    return f"must be a hash (crypt(5): yescrypt, SHA-512, SHA-256 or bcrypt), not a password ({_MAKE})"


def _fault(text: str, prefix: str) -> str:
    if not re.fullmatch(_FORMS[prefix], text):
        return f"must be a whole {_NAMES.get(prefix, 'bcrypt')} hash: this one is not ({_MAKE})"
    if not re.match(_CHEAP[prefix], text):
        return f"must be a hash that takes at most {_LIMITS.get(prefix, 'a cost of 15')} ({_MAKE})"
    return ""
