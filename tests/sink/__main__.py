"""`python3 -m sink`: the sink as a program. Every option can be given as SINK_<OPTION> in the environment too."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from . import Behaviour, Listen, Sink
from .behaviour import parse
from .records import Store, stdout_store


def _options(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sink", description=__doc__, allow_abbrev=False)

    def add(name: str, default: str | None, text: str) -> None:
        default = environ.get("SINK_" + name.upper().replace("-", "_")) or default
        parser.add_argument(f"--{name}", default=default, help=f"{text} (now: {default})")

    add("host", "", "address to listen on; empty means all, IPv4 and IPv6")
    add("smtp-port", "1025", "SMTP with STARTTLS")
    add("smtps-port", "1465", "SMTP with implicit TLS; opened only when there is a certificate")
    add("http-port", "8025", "what was received, and the behaviour, as JSON")
    add("hostname", "sink.example", "name in the greeting")
    add("tls-cert", None, "certificate chain, PEM file; without it there is no TLS")
    add("tls-key", None, "its private key, PEM file")
    add("journal", None, "file that gets a line for each message, of which then nothing is kept in memory")
    for each in fields(Behaviour):
        add(
            each.name.replace("_", "-"),
            None,
            "behaviour, see behaviour.py; text bare, everything else as JSON",
        )
    return parser


def _sink(options: argparse.Namespace) -> Sink:
    """Raises ValueError for a behaviour or port that is none, OSError for a certificate that cannot be read."""
    given = {each.name: getattr(options, each.name) for each in fields(Behaviour)}
    behaviour = Behaviour().changed(
        {name: parse(name, text) for name, text in given.items() if text is not None}
    )
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ValueError("--tls-cert and --tls-key belong together")
    certificate = (Path(options.tls_cert), Path(options.tls_key)) if options.tls_cert else None
    listen = Listen(
        options.host,
        int(options.smtp_port),
        int(options.smtps_port) if certificate else None,
        int(options.http_port),
    )
    # Open for as long as the program runs.
    store = Store(Path(options.journal).open("a"), keeps=False) if options.journal else stdout_store()  # noqa: SIM115
    return Sink(behaviour, listen, certificate, options.hostname, store)


def main() -> None:
    """Run until SIGTERM or SIGINT; exit code 1 and one line on stderr when the sink cannot start."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(
        signal.SIG_BLOCK, signals
    )  # before any thread: sigwait below must be the only taker
    try:
        with _sink(_options(os.environ).parse_args()):
            signal.sigwait(signals)
    except (OSError, ValueError) as error:
        sys.exit(f"sink: {error}")


if __name__ == "__main__":
    main()
