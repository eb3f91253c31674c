"""The only callers of Postfix's programs for its configuration (queue.py has those for the queue)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from entrypoint import nonroot
from entrypoint.config.vocabulary import Vocabulary

# Made when the image is built: parameters (postconf -d), tables (postconf -m), programs (of the daemon directory).
VOCABULARY = Path("/usr/lib/postern/vocabulary")


def vocabulary(directory: Path = VOCABULARY) -> Vocabulary | None:
    """What this Postfix knows; None where nobody wrote it down, as on a laptop."""
    if not directory.is_dir():
        return None
    lines = {file.name: file.read_text(encoding="utf-8").splitlines() for file in directory.iterdir()}
    pairs = (line.partition("=") for line in lines["parameters"] if "=" in line)
    return Vocabulary(
        parameters={name.strip(): default.strip() for name, _, default in pairs},
        tables=frozenset(lines["tables"]),
        programs=frozenset(lines["programs"]),
    )


def configuration_faults(directory: Path) -> list[str]:
    """What `postconf -n` and `-M` have to say of the configuration in a directory; nothing when all is well.

    They exit 0 on much that matters (an unknown parameter, for one), so any word on stderr counts.
    """
    options = ("-n", "-M")
    running = [
        subprocess.Popen(
            nonroot.command("postconf", "-c", str(directory), option),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for option in options
    ]
    found = []
    for option, process in zip(options, running, strict=True):
        complaints = process.communicate()[1].splitlines()
        found += complaints
        if process.returncode and not complaints:
            found.append(f"postconf {option} failed with status {process.returncode}")
    return list(dict.fromkeys(found))


def check(directory: Path) -> list[str]:
    """What `postfix check` finds: slower (0.2 s), and it wants a writable spool, so the start leaves it out."""
    result = subprocess.run(
        nonroot.command("postfix", "-c", str(directory), "check"), capture_output=True, text=True, check=False
    )
    # It also tells of files that it copies and of links that it follows; only "fatal" keeps mail from moving.
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if "fatal:" in line]
    return complaints or (
        [f"postfix check failed with status {result.returncode}"] if result.returncode else []
    )
