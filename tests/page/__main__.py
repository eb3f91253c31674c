"""`make screenshot`: the pictures of the page for the README, light and dark, from made-up mail."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from entrypoint.page import show
from entrypoint.page.facts import Facts
from tests.page import data

IMAGES = Path(__file__).parents[2] / "docs/images"
BROWSER = "postern-test-browser:latest"


def main() -> None:
    style = (show.templates() / "page.css").read_text()
    with patch("time.time", return_value=data.NOW):
        page = show.html(Facts(data.Told(data.a_good_day())), style)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "page.html").write_text(page)
        for scheme, option in (("light", ""), ("dark", "--dark")):
            look = f"look.py file:///page/page.html --height 1180 {option} --screenshot /page/{scheme}.png"
            command = [
                "docker",
                "run",
                "--rm",
                "--label",
                "org.postern.test=1",
                "-v",
                f"{directory}:/page",
                BROWSER,
            ]
            subprocess.run([*command, "sh", "-c", look], check=True, stdout=subprocess.DEVNULL)
            IMAGES.mkdir(exist_ok=True)
            (IMAGES / f"page-{scheme}.png").write_bytes((directory / f"{scheme}.png").read_bytes())
            sys.stdout.write(f"docs/images/page-{scheme}.png\n")


main()
