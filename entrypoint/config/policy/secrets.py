"""Names and passwords that look as if more had been typed than was meant: they are taken as they are, and it is said."""

from __future__ import annotations

from collections.abc import Iterator

from entrypoint.config.parsers import simple
from entrypoint.config.secret import Secret
from entrypoint.config.settings import Settings, row, variables


def warnings(settings: Settings) -> Iterator[str]:
    """Where they were given, each once, and never what."""
    for where, odd in dict.fromkeys(_odd(settings)):
        yield f"{where} {odd}, which counts as a part of it: no shell reads an --env-file or a secret's file"


def _odd(settings: Settings) -> Iterator[tuple[str, str]]:
    for where, text in _given(settings):
        if simple.quoted(text):
            yield where, "begins and ends with a quote"
        if text and (text[0].isspace() or text[-1].isspace()):
            yield where, "has a blank at an end"


def _given(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, declared in variables().items():
        value = getattr(settings, declared.name)
        if row(declared).secret and isinstance(value, Secret):
            yield name, value.reveal()
    yield "RELAYHOST_USERNAME", settings.relayhost_username or ""
    for upstream in settings.upstreams:
        if upstream.password:
            yield upstream.where, upstream.password.reveal()
    for login in settings.smtpd_sasl_users:
        yield login.where, login.secret.reveal()
        # In quotes as a whole.
        yield login.where, f"{login.name}:{login.secret.reveal()}"
