"""The sums of docs/scaling.md are right, and begin with what the README says was measured."""

from __future__ import annotations

import ast
import math
import operator
import re
from pathlib import Path

import pytest

from entrypoint.config.settings import variables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scaling.md").read_text()
README = (ROOT / "README.md").read_text()
_SUMS = [
    pytest.param(*(cell.strip() for cell in line.strip("|").split("|")), id=line.split("|")[1].strip())
    for line in PAGE.partition("<!-- sums: begin -->")[2].partition("<!-- sums: end -->")[0].splitlines()[3:]
]
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@pytest.mark.parametrize(("what", "text", "told"), _SUMS)
def test_a_sum_is_what_it_says(what: str, text: str, told: str) -> None:
    found, shown = _value(text), _numbers(told)[0]
    if "rounded up" in text:
        found = math.ceil(found)
    if "rounded down" in text:
        found = math.floor(found)
    # As many digits as are shown.
    digits = len(told.split(maxsplit=1)[0].partition(".")[2])
    assert round(found, digits) == shown


def test_what_is_planned_with_is_less_than_was_measured() -> None:
    """It need not be of the last run; but nobody shall be promised more than a relay does."""
    measured = _measured("delivered per second, TLS, 40 ms away")
    assert _sum("planned")[1][0] < measured
    # What the page says of that row, and what a delivery then takes.
    assert _sum("planned")[0][0] == pytest.approx(measured, rel=0.15)
    assert _sum("deliveries at once")[0][1] == pytest.approx(20 / measured, rel=0.15)


def test_the_processor_time_that_is_planned_with_is_not_less_than_was_measured() -> None:
    assert _measured("CPU per message, TLS, 40 ms away") <= _sum("processor time")[0][1]


def _sum(what: str) -> tuple[list[float], list[float]]:
    """The numbers of the sum, and of what it comes to."""
    [found] = [param.values[1:] for param in _SUMS if what in str(param.id)]
    return _numbers(found[0]), _numbers(found[1])


def _measured(row: str) -> float:
    [line] = re.findall(rf"^\| {re.escape(row)} \|(.*)$", README, re.MULTILINE)
    return _numbers(line.split("|")[1])[0]


def _numbers(text: object) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", str(text))]


def _value(text: str) -> float:
    """Units are words, and mean nothing here."""
    bare = re.sub(r"/s\b|[A-Za-z]+|,", "", text).replace("×", "*").replace("÷", "/")
    return _evaluated(ast.parse(bare.strip(), mode="eval").body)


def _evaluated(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp):
        return float(_OPERATORS[type(node.op)](_evaluated(node.left), _evaluated(node.right)))
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int | float)
    return float(node.value)


def test_every_setting_that_the_page_names_exists() -> None:
    used = set(re.findall(r"`([A-Z]{3,}(?:_[A-Z]+)+)", PAGE)) - {"SMTPD_CLIENT"}
    assert used
    assert used <= set(variables())


def test_every_file_that_the_page_links_is_there() -> None:
    linked = re.findall(r"\]\((\.\./[^)#]+)", PAGE)
    assert linked
    assert [link for link in linked if not (ROOT / "docs" / link).resolve().exists()] == []
