"""What changed in the files that settings come from, checked as at a start and put in force while the relay runs.

Nothing is touched unless all of it is right. Tables change in place, so that sessions which are open see it; whatever
else differs is replaced, and Postfix reads it when the keeper tells it to.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from . import log, runtime, start
from .config import environment, install
from .config.problem import MisconfiguredError
from .config.render import (
    ABOUT,
    CERTIFICATES,
    LOG_SALT,
    PAGE_LOGIN,
    SASLDB_SUM,
    UPSTREAMS,
    WATCHED,
    File,
    Made,
    Sasldb,
    revealed,
)
from .postfix import commands, compiling
from .start import CONFIGURATION, EX_CONFIG

UNREAD, CHANGED = 10, 11
"""Exit statuses: something changed that Postfix must be told to read, or only what it looks at each time."""
REFUSED, APPLIED = Path(runtime.REFUSED), Path(runtime.APPLIED)

POSTFIX = ("etc/postfix/main.cf", "etc/postfix/master.cf")
# What the long-running programs read once.
_AT_START = ("etc/postern/runtime.json", "etc/supervisor/supervisord.conf", LOG_SALT)
# Asked anew for each message, and no cache between. The transports, for one, are remembered by smtpd(8) until it ends.
_READ_EACH_TIME = frozenset(
    {
        "etc/postern/logins.json",
        PAGE_LOGIN,
        "logins/sasldb2",
        "logins/users",
        "tables/client_certificates",
        "tables/relay_recipients",
        "tables/sender_logins",
        "tables/virtual",
    }
)
_RESTART = "this changes what a port is for, where logins come from or how the log is written, which takes a restart of the relay"
# What main.cf no longer has when a table is gone or empty, and what that would mean at once. A file that is away for a
# moment, or that a script cut off, must not open the relay or send its mail elsewhere.
_LIFTED = {
    "tables/sender_logins": "SENDER_LOGINS: must not go while the relay runs: any login could send as anybody",
    "tables/relay_recipients": "RELAY_RECIPIENTS: must not go while the relay runs: any recipient would be accepted",
    "tables/upstream_senders": "UPSTREAMS: must not go while the relay runs: mail would take another way",
    r"\nrelayhost = \S": "UPSTREAMS: must not go while the relay runs: mail would take another way",
}
# What only we read, and what changes together with it is said.
_SILENT = (ABOUT, SASLDB_SUM, WATCHED, UPSTREAMS, CERTIFICATES, "etc/postern/ways")
_CALLED = {
    "sasldb2": "SMTPD_SASL_USERS",
    "page_password": "HEALTH_PAGE_PASSWORD",
    "sni": "/config/certificates",
    "tls.pem": "the certificate",
    "logins.json": "the way to the server that checks logins",
}


class RefusedError(Exception):
    """Raised with every reason why the files stay without effect."""

    def __init__(self, reasons: Iterable[str]) -> None:
        super().__init__()
        self.reasons = list(reasons)


def apply(environ: Mapping[str, str]) -> int:
    """Returns 0 (nothing to do), UNREAD, CHANGED, 78 (refused) or 1 (failed).

    Says what changed, or every reason why nothing did.
    """
    log.use_installed()
    began = install.now()
    try:
        changed = _apply(environ)
    except MisconfiguredError as error:
        without_values = [str(replace(problem, value=None)) for problem in error.problems]
        return _refuse(map(str, error.problems), EX_CONFIG, without_values)
    except RefusedError as error:
        return _refuse(error.reasons, EX_CONFIG)
    except (OSError, ValueError) as error:
        return _refuse([str(error)], 1)
    except Exception:
        _refuse(["the change was not applied, by a fault of Postern's own, which the log shows"], 1)
        raise
    install.note_reading(CONFIGURATION / WATCHED, began)
    told = [f"{_source(path)} has changed{how}" for path, how in changed.items()]
    for text in told:
        log.write(text)
    with suppress(OSError):  # The log has it all; the keeper tells it to who asked for a reload.
        APPLIED.unlink(missing_ok=True)
        install.write(APPLIED, File(APPLIED.name, "".join(f"{text}\n" for text in told)))
    if REFUSED.exists():
        REFUSED.unlink()
        log.write("the files are right again, and in force")
    if not changed.keys() <= _READ_EACH_TIME:
        return UNREAD
    return CHANGED if changed else 0


def _apply(environ: Mapping[str, str]) -> dict[str, str]:
    policy = start.decide(environ)
    files = start.files(policy, lambda _: None)
    new = list(differing(files, CONFIGURATION))
    if any(file.path in _AT_START for file in new):
        raise RefusedError([_RESTART])
    if reasons := list(lifted(new, CONFIGURATION)):
        raise RefusedError(reasons)
    if any(file.path in POSTFIX for file in new) and (faults := _faults(files)):
        raise RefusedError(map(str, start.blame(faults, policy.settings)))
    return dict(put_in_force(files, new, CONFIGURATION))


def differing(files: Iterable[Made], root: Path) -> Iterator[File]:
    """Those files, tables apart, that are not the same below `root`."""
    for file in files:
        if isinstance(file, File) and not install.same(root / file.path, file):
            yield file


def lifted(new: Iterable[File], root: Path) -> Iterator[str]:
    """What the new main.cf would do without, that a restart may."""
    for file in new:
        if file.path == POSTFIX[0]:
            before, after = (root / file.path).read_text(errors="surrogateescape"), revealed(file.text)
            for mark, why in _LIFTED.items():
                if re.search(mark, before) and not re.search(mark, after):
                    yield f"{why}; a restart can do without it"


def put_in_force(files: Iterable[Made], new: Iterable[File], root: Path) -> Iterator[tuple[str, str]]:
    """Installs what differs, in an order in which nothing refers to what is not yet there. Raises OSError.

    Gives each path, and how it changed where that can be told. What is referred to no more stays, without effect: a
    session may still use it.
    """
    replaced = {file.path: file for file in new}
    for file in files:
        path = root / file.path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if isinstance(file, File) or (isinstance(file, Sasldb) and SASLDB_SUM not in replaced):
            continue
        if change := compiling.compiled(path, file):
            yield file.path, f": {change}"
    for file in sorted(replaced.values(), key=lambda file: file.path in POSTFIX):
        install.write(root / file.path, file)
        if file.path not in _SILENT:
            yield file.path, ""


def _source(path: str) -> str:
    """The user's name for what became a file of ours."""
    name = Path(path).name
    mounted = environment.DIRECTORY / name
    if mounted.exists():
        return str(mounted)
    if name.startswith("upstream") or name.endswith("passwd"):
        return "the way to an upstream, or its password,"
    return _CALLED.get(name, name)


def _faults(files: Iterable[Made]) -> list[str]:
    """What Postfix says of the new configuration, read from a place where nothing else uses it."""
    with tempfile.TemporaryDirectory(prefix="postern-apply-", dir=CONFIGURATION.parent) as name:
        for file in files:
            if isinstance(file, File) and file.path in POSTFIX:
                install.write(Path(name, Path(file.path).name), file)
        return commands.configuration_faults(Path(name))


def _refuse(reasons: Iterable[str], status: int, public: Iterable[str] | None = None) -> int:
    """`public` is what /readyz shows, to whoever can reach it: a value may be a hash or a key in the wrong file."""
    told = list(reasons)
    for reason in told:
        log.write(f"error: {reason}")
    log.write("error: the change has no effect; what was in force before it stays")
    shown = "".join(f"{reason}\n" for reason in public or told)
    if mask := log.asked()[0]:
        shown = mask(shown)
    with suppress(OSError):  # The log has it all, and the keeper counts it.
        install.write(REFUSED, File(REFUSED.name, shown))
    return status
