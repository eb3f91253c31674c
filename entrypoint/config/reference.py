"""The settings as the README shows them. A test fails when the README says anything else."""

from __future__ import annotations

from .settings import FAMILIES, SECTIONS, Row, row, variables

BEGIN = "<!-- settings: written by `postern reference` -->"
END = "<!-- settings: end -->"


def markdown() -> str:
    """One table a section, in the order of the declarations."""
    lines = []
    for section in SECTIONS:
        lines += [f"### {section}", "", "| setting | default | meaning |", "| --- | --- | --- |"]
        lines += [_line(name, row(f)) for name, f in variables().items() if row(f).section == section]
        lines.append("")
    lines += ["### Postfix's own", "", "| setting | meaning |", "| --- | --- |"]
    lines += [f"| `{family.name}` | {family.doc} |" for family in FAMILIES]
    return "\n".join(lines) + "\n"


def _line(name: str, declared: Row) -> str:
    default = f"`{declared.default}`" if declared.default else declared.shown_default
    spellings = [name, *([f"{name}_FILE"] if declared.secret else [])]
    if declared.table and declared.mounted:
        spellings.append(f"/config/{name.lower()}")
    names = "<br>or ".join(f"`{spelling}`" for spelling in spellings)
    # Even between backticks a bar would begin the next cell.
    cells = (names, default.replace("|", r"\|"), declared.doc.replace("|", r"\|"))
    return f"| {' | '.join(cells)} |"
