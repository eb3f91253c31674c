"""Certificates for one run: an authority that the relay is told of, one that it is not, and the sink's certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme

SINK_NAMES = ("sink", "sink.example", "mx.example.com")
"""The names that the sink answers to and its certificate is for."""
OTHER_NAME = "elsewhere.example"
"""A name that the sink answers to, too, but that is not in its certificate."""


@dataclass(frozen=True)
class Certificates:
    """Files of the test host; below `INSIDE` in every relay that mounts the directory."""

    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Certificates:
        right, wrong = trustme.CA(), trustme.CA()
        right.cert_pem.write_to_path(directory / "ca.pem")
        wrong.cert_pem.write_to_path(directory / "other-ca.pem")
        issued = right.issue_cert(*SINK_NAMES)
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(directory / "sink.pem", append=number > 0)
        issued.private_key_pem.write_to_path(directory / "sink.key")
        # Containers read them as whoever they run as.
        directory.chmod(0o755)
        for file in directory.iterdir():
            file.chmod(0o644)
        return cls(directory)

    @property
    def mount(self) -> dict[str, dict[str, str]]:
        return {str(self.directory): {"bind": INSIDE, "mode": "ro"}}


INSIDE = "/certificates"
CA = f"{INSIDE}/ca.pem"
OTHER_CA = f"{INSIDE}/other-ca.pem"
