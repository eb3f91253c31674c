"""Templates print, and nothing that reaches them can forge a line or vanish."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from entrypoint.config import decision, render
from entrypoint.config.host import Host


def render_template(
    tmp_path: Path, machine: Host, template: str, environ: dict[str, str] | None = None
) -> str:
    for name in render.TEMPLATES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.j2").write_text(template)
    files = render.files(decision.make(environ or {}, None, machine), tmp_path, Path("/run/postern"))
    first = files[0]
    assert isinstance(first, render.File)
    return first.text


def test_postfix_words_for_truth_and_lists(tmp_path: Path, machine: Host) -> None:
    template = "{{ true }} {{ false }} {{ [1, 'a'] }} {{ none }}|{{ 0 }}\n"
    assert render_template(tmp_path, machine, template) == "yes no 1, a |0\n"


def test_a_typo_in_a_template_is_an_error_and_not_an_empty_value(tmp_path: Path, machine: Host) -> None:
    with pytest.raises(jinja2.UndefinedError):
        render_template(tmp_path, machine, "{{ policy.hostnam }}")
    with pytest.raises(jinja2.UndefinedError):
        render_template(tmp_path, machine, "{% if polcy %}x{% endif %}")


def test_a_value_with_a_line_break_cannot_forge_a_line(tmp_path: Path, machine: Host) -> None:
    with pytest.raises(ValueError, match="line break"):
        render_template(tmp_path, machine, "{{ 'a\\nb' }}")


def test_a_secret_cannot_be_printed_by_a_template(tmp_path: Path, machine: Host) -> None:
    environ = {"RELAYHOST": "[h]", "RELAYHOST_USERNAME": "u", "RELAYHOST_PASSWORD": "hunter2"}
    with pytest.raises(TypeError, match="secret"):
        render_template(tmp_path, machine, "{{ policy.credentials.password }}", environ)


def test_nothing_is_escaped_for_html(tmp_path: Path, machine: Host) -> None:
    assert render_template(tmp_path, machine, "{{ '<a&b>' }}") == "<a&b>"


def test_a_replaced_parameter_goes_with_its_continuation_lines(tmp_path: Path, machine: Host) -> None:
    template = "{% filter without(['a']) %}\n# comment\na = 1\n  2\n\nb = 3\n{% endfilter %}\n"
    assert render_template(tmp_path, machine, template) == "# comment\n\nb = 3\n"


def test_a_replaced_service_may_be_named_by_its_port(tmp_path: Path, machine: Host) -> None:
    template = "{% filter without_services(['smtp/inet', 'relay/unix']) %}\n25 inet x\nsmtp unix x\nrelay unix x\n{% endfilter %}\n"
    assert render_template(tmp_path, machine, template) == "smtp unix x\n"
