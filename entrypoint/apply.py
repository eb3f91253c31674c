"""What changed in the files that settings come from, checked as at a start and put in force while the relay runs.

Nothing is touched unless all of it is right, and there is room for it. Tables change in place, so that sessions which are
open see it; whatever else differs is replaced, and Postfix reads it when the keeper tells it to.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from . import log, runtime, start
from .config import environment, install
from .config.problem import MisconfiguredError
from .config.render import (
    ABOUT,
    CERTIFICATE,
    CERTIFICATES,
    LOG_SALT,
    PAGE_LOGIN,
    SASLDB_SUM,
    UPSTREAMS,
    WATCHED,
    File,
    Made,
    Sasldb,
    Table,
    revealed,
)
from .postfix import commands, compiling
from .start import CONFIGURATION, EX_CONFIG

UNREAD, CHANGED, PARTLY = 10, 11, 12
"""Exit statuses: something changed that Postfix must be told to read, only what it looks at each time, or a part of what should."""
REFUSED, APPLIED = Path(runtime.REFUSED), Path(runtime.APPLIED)

POSTFIX = ("etc/postfix/main.cf", "etc/postfix/master.cf")
# What the long-running programs read once. Of files only those of users change it: by being there, or no longer.
_AT_START = ("etc/postern/runtime.json", "etc/supervisor/supervisord.conf")
# The same, but nothing else depends on it: it stays as it is, for all programs, and the rest is put in force.
_LATER = {
    LOG_SALT: "LOG_ADDRESSES_SALT: the new one takes a restart of the relay; the log goes on with the old one"
}
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
# What needs nothing else to change with it.
_ALONE = (CERTIFICATE, CERTIFICATES, "etc/postfix/sni")
_RESTART = "this changes what a port is for or where logins come from, which takes a restart of the relay"
_ELSEWHERE = "must not go while the relay runs: mail would take another way"
# What main.cf no longer has when a table is gone or empty, and what that would mean at once. A file that is away for a
# moment, or that a script cut off, must not open the relay or send its mail elsewhere.
_LIFTED = {
    "tables/sender_logins": "SENDER_LOGINS: must not go while the relay runs: any login could send as anybody",
    "tables/relay_recipients": "RELAY_RECIPIENTS: must not go while the relay runs: any recipient would be accepted",
    "tables/transport": f"TRANSPORT: {_ELSEWHERE}",
    "tables/relay_domains": f"RELAY_DOMAINS: {_ELSEWHERE}, or be refused",
    "tables/virtual": f"VIRTUAL: {_ELSEWHERE}",
    "tables/upstream_senders": f"UPSTREAMS: {_ELSEWHERE}",
    r"\nrelayhost = \S": f"UPSTREAMS: {_ELSEWHERE}",
}
_NONE = "the change has no effect; what was in force before it stays"
_PARTLY = "the rest of the change has no effect yet; the next attempt is in a minute"
# What only we read, and what changes together with it is said.
_SILENT = (ABOUT, SASLDB_SUM, WATCHED, UPSTREAMS, CERTIFICATES, "etc/postern/ways")
_CALLED = {
    "sasldb2": "SMTPD_SASL_USERS",
    "page_password": "HEALTH_PAGE_PASSWORD",
    "relayhost-ca.pem": "RELAYHOST_CA_FILE",
    "sni": "/config/certificates",
    "tls.pem": "the certificate",
    "logins.json": "the way to the server that checks logins",
}

# A path, how it changes, and what puts the new one in its place.
_Step = tuple[str, str, Callable[[], object]]


class RefusedError(Exception):
    """Raised with every reason why the files stay without effect."""

    def __init__(self, reasons: Iterable[str]) -> None:
        super().__init__()
        self.reasons = list(reasons)


class PartlyError(Exception):
    """Raised when what was ready could not all be put in its place: a disk that fails, for one."""

    def __init__(self, done: Iterable[str], path: str, error: OSError) -> None:
        names = ", ".join(dict.fromkeys(_source(each) for each in done if each not in _SILENT))
        super().__init__(
            f"partly in force: {names or 'nothing that is seen'}, but not {_source(path)}: {error}"
        )


def apply(environ: Mapping[str, str]) -> int:
    """Returns 0 (nothing to do), UNREAD, CHANGED, PARTLY, 78 (refused) or 1 (failed).

    Says what changed, or every reason why nothing did.
    """
    log.use_installed()
    began = install.now()
    try:
        changed, later = _apply(environ)
    except MisconfiguredError as error:
        return _refuse(map(str, error.problems), EX_CONFIG, [str(each.hidden()) for each in error.problems])
    except RefusedError as error:
        return _refuse(error.reasons, EX_CONFIG)
    except PartlyError as error:
        return _refuse([str(error)], PARTLY, outcome=_PARTLY)
    except (OSError, ValueError) as error:
        return _refuse([str(error)], 1)
    except Exception:
        _refuse(["the change was not applied, by a fault of Postern's own, which the log shows"], 1)
        raise
    install.note_reading(CONFIGURATION / WATCHED, began)
    return _tell(changed, later)


def _tell(changed: Mapping[str, str], later: list[str]) -> int:
    if later and not changed:
        return _refuse(later, EX_CONFIG)
    told = [f"{_source(path)} has changed{how}" for path, how in changed.items()]
    told += [f"warning: {reason}" for reason in later]
    for text in told:
        log.write(text)
    # The keeper tells it to who asked for a reload, and nothing rather than what came of an earlier one.
    with suppress(OSError):
        APPLIED.unlink(missing_ok=True)
    _leave(APPLIED, told)
    if later:
        _leave(REFUSED, later)
    elif REFUSED.exists():
        REFUSED.unlink()
        log.write("the files are right again, and in force")
    if not changed.keys() <= _READ_EACH_TIME:
        return UNREAD
    return CHANGED if changed else 0


def _apply(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What changed, and what takes a restart."""
    policy = start.decide(environ)
    files = start.files(policy, lambda _: None)
    new = list(differing(files, CONFIGURATION))
    later = [_LATER[file.path] for file in new if file.path in _LATER]
    new = [file for file in new if file.path not in _LATER]
    if any(file.path in _AT_START for file in new):
        # A certificate ends whether or not somebody comes to restart the relay.
        renewed = [file for file in files if file.path in _ALONE and _installed(file)]
        later.append(_RESTART)
        return put_in_force(renewed, [file for file in new if file in renewed], CONFIGURATION), later
    if reasons := list(lifted(new, CONFIGURATION)):
        raise RefusedError(reasons)
    if any(file.path in POSTFIX for file in new) and (faults := _faults(files)):
        raise RefusedError(map(str, start.blame(faults, policy.settings)))
    return put_in_force(files, new, CONFIGURATION), later


def _installed(file: Made) -> bool:
    name = f"{file.path}.lmdb" if isinstance(file, Table) else file.path
    return (CONFIGURATION / name).exists()


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


def put_in_force(files: Iterable[Made], new: Iterable[File], root: Path) -> dict[str, str]:
    """Installs what differs, in an order in which nothing refers to what is not yet there.

    Returns each path, and how it changed where that can be told. What is referred to no more stays, without effect: a
    session may still use it. Raises OSError if nothing has changed, as what takes room is written before, and
    PartlyError.
    """
    replaced = {file.path: file for file in new}
    with ExitStack() as ready:
        steps: list[_Step] = []
        for file in files:
            path = root / file.path
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if isinstance(file, File) or (isinstance(file, Sasldb) and SASLDB_SUM not in replaced):
                continue
            change, put = ready.enter_context(compiling.prepared(path, file))
            if change:
                steps.append((file.path, f": {change}", put))
        for file in sorted(replaced.values(), key=lambda file: file.path in POSTFIX):
            put = ready.enter_context(install.prepared(root / file.path, file))
            steps.append((file.path, "", put))
        _switch(steps)
    return {path: how for path, how, _ in steps if path not in _SILENT}


def _switch(steps: list[_Step]) -> None:
    for number, (path, _, put) in enumerate(steps):
        try:
            put()
        except OSError as error:
            if not number:
                raise
            raise PartlyError([path for path, *_ in steps[:number]], path, error) from None


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


def _refuse(
    reasons: Iterable[str], status: int, public: Iterable[str] | None = None, outcome: str = _NONE
) -> int:
    """`public` is what /readyz shows, to whoever can reach it: a value may be a hash or a key in the wrong file."""
    told = list(reasons)
    for reason in told:
        log.write(f"error: {reason}")
    log.write(f"error: {outcome}")
    _leave(REFUSED, public or told)
    return status


def _leave(place: Path, told: Iterable[str]) -> None:
    """For others to show, who need not know it: the log has it all."""
    shown = "".join(f"{text}\n" for text in told)
    if mask := log.asked()[0]:
        shown = mask(shown)
    with suppress(OSError):
        install.write(place, File(place.name, shown))
