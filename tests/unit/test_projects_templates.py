"""Jinja that strangers wrote."""

import subprocess
import sys
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Invalid
from runmesh.projects import Templates, holds_secret
from runmesh.projects.meter import LONGEST_TEMPLATE

ENVIRONMENT = {"TYPE": "k8s", "EMPTY": "", "CONFIG": '{"db": {"hosts": ["a", "b"]}, "x.y": 1}'}
templates = Templates(ENVIRONMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no template at all\n", "no template at all\n"),
        ("{{ env_var('TYPE') }}\n", "k8s\n"),
        ("{{ env_var('UNSET') }}", "None"),
        ("{{ env_var('UNSET', '') }}", ""),
        ("{{ env_var('EMPTY', 'other') }}", ""),
        ("{{ env_var('UNSET', 'local_python') | upper }}", "LOCAL_PYTHON"),
        ("{{ json_value(env_var('CONFIG'), 'db.hosts.1') }}", "b"),
        ("{{ json_value(env_var('CONFIG'), 'x.y') }}", "1"),
        ("{% if env_var('TYPE') == 'k8s' %}yes{% else %}no{% endif %}", "yes"),
        ("{% for x in ['a', 'b'] %}{{ loop.index }}{{ x }}{% endfor %}", "1a2b"),
        ("{% set x = env_var('TYPE') %}{{ x ~ '-' ~ 1 }}", "k8s-1"),
        ("{{ env_var('TYPE').upper().replace('K', 'k') }}", "k8S"),
        ("{{ unknown | default('fallback') }}", "fallback"),
        ("{{ 2 ** 10 + 7 % 4 }} {{ 'a' * 3 }} {{ [1] * 2 }}", "1027 aaa [1, 1]"),
        ("{{ {'a': 1} | tojson }} {{ (1, 2) | join('+') }}", '{"a": 1} 1+2'),
        ("{{ ('x' * 60000) | length }} {{ ('x' * 20000) | list | length }}", "60000 20000"),
        ("{# nothing #}{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
    ],
)
def test_renders(text: str, expected: str) -> None:
    assert templates.render(text, where="f") == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a\n{{ en_var('X') }}", 2, r"'en_var' is undefined \(did you mean 'env_var'\?\)"),
        ("{{ env_var('A') | uper }}", 1, "did you mean 'upper'"),
        ("\n\n{{ env_var('A') ", 3, "unexpected end"),
        ("{{ mage_secret_var('x') }}", 1, "secret functions are not available here"),
        ("{{ aws_secret_var('x', True) }}", 1, "secret functions are not available here"),
        ("{{ json_value(env_var('CONFIG'), 'db.port') }}", 1, "no 'db.port'"),
        ("{{ json_value(env_var('TYPE'), 'a') }}", 1, "Expecting value"),
        ("{{ variables('x') }}", 1, "'variables' is undefined"),
        ("{{ 1 / 0 }}", 1, "division by zero"),
        ("{{ env_var() }}", 1, "env_var"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ env_var._call.__globals__ }}", 1, "unsafe"),
        ("{{ env_var }}", 1, "can't be written out"),
        ("{{ self }}", 1, "can't be written out"),
        ("{% include '/etc/passwd' %}", 1, "'include' is not available"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", 1, "'macro' is not available"),
        ("{% set x %}captured{% endset %}", 1, "'assignblock' is not available"),
        ("{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", 1, "'for' is not available"),
        ("{{ lipsum(n=10 ** 6) }}", 1, "undefined"),
        ("{{ 'x'.join(['a']) }}", 1, "join can't be called"),
        ("{{ [1].append(2) }}", 1, "unsafe|can't be called"),
        ("{{ x | =paid(-1) }}", 1, "fails"),
    ],
)
def test_refuses_and_names_the_line(text: str, line: int, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refused:
        templates.render(text, where="f")
    assert refused.value.problems[0].path == f"f:{line}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10 ** 9 }}",
        "{{ 10 ** 9 * 'x' }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% set x = 2 ** 60000 %}{% set y = x * x %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x' | center(10 ** 9) }}",
        "{{ 'x'.ljust(10 ** 9) }}",
        "{{ 'x'.zfill(10 ** 9) }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
        "{% for i in range(10000) %}" + "{{ i }}" * 1000 + "{% endfor %}",
        "{% for i in range(10000) %}" + "x" * 90_000 + "{% endfor %}",
        "{{ ('x' * 60000) | replace('x', 'y' * 60000) }}",
        "{{ ('x' * 60000).replace('x', 'y' * 60000) }}",
        "{{ ('x' * 20000) | list | join('y' * 60000) }}",
        "{% set a = 'x' * 10000 %}{% set a = a ~ a %}{% set a = a ~ a %}{% set a = a ~ a %}{{ a }}",
        "{% set a = ['x'] * 100 %}" + "{% set a = [a, a, a, a, a, a, a, a] %}" * 20 + "{{ a }}",
        "{% set a = ['x'] * 100 %}" + "{% set a = {'a': a, 'b': a} %}" * 20 + "{{ a == a }}",
        "{% set a = ('x',) * 100 %}" + "{% set a = (a, a, a) %}" * 20,
        "{% set x = 'x' * 60000 %}{% for i in range(9000) %}{% set y = x | trim(x) %}{% endfor %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ 1" + " + 1" * 20000 + " }}",
        "{{ " + "9" * 5000 + " }}",
        "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
        "{{ 'x' }}" + " " * LONGEST_TEMPLATE,
    ],
)
@pytest.mark.timeout(100)
def test_refuses_to_explode(text: str) -> None:
    began = process_time()
    with pytest.raises(Invalid):
        templates.render(text, where="f")
    assert process_time() - began < 10


def test_each_rendering_has_its_own_budget() -> None:
    text = "{% for i in range(5000) %}{% set x = i %}{% endfor %}done"
    assert [templates.render(text, where="f") for _ in range(20)] == ["done"] * 20


def test_variables_are_known_only_where_they_are_given() -> None:
    assert templates.render("{{ variables('ns') }}", where="f", variables={"ns": "prod"}) == "prod"
    with pytest.raises(Invalid, match="there is no variable 'n': did you mean 'ns'"):
        templates.render("{{ variables('n') }}", where="f", variables={"ns": "prod"})
    with pytest.raises(Invalid, match="undefined"):
        templates.render("{{ variables('ns') }}", where="f")


def test_sees_nothing_of_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNMESH_TEST_VARIABLE", "leaked")
    assert templates.render("{{ env_var('RUNMESH_TEST_VARIABLE') }}", where="f") == "None"


@pytest.mark.parametrize(
    "secret",
    [
        "{{ mage_secret_var('x') }}",
        "{{- json_value(aws_secret_var('x'), 'key') | upper -}}",
        "{{ azure_secret_var(\n'}}' ) }}",
    ],
)
def test_a_document_keeps_the_expressions_of_secrets(secret: str) -> None:
    text = f"type: {{{{ env_var('TYPE') }}}}\nsecret:{secret}."
    rendered = templates.render_document(text, where="f")
    assert rendered == f"type: k8s\nsecret:{secret}."
    assert holds_secret({"a": [rendered]})


def test_a_secret_that_decides_something_is_refused() -> None:
    with pytest.raises(Invalid, match="secret functions"):
        templates.render_document("{% if mage_secret_var('x') %}a{% endif %}", where="f")


def test_text_that_only_mentions_a_secret_function_is_rendered() -> None:
    assert templates.render_document("{{ 'mage_secret_var' }}{# aws_secret_var('x') #}", where="f") == "mage_secret_var"
    assert not holds_secret({"a": ["mage_secret_var", "{{ env_var('x') }}"], "b": None})


expressions = st.recursive(
    st.sampled_from(["1", "0", "'x'", "x", "none", "env_var('TYPE')", "2.5", "range(9)", "loop", "''", "10**4"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "~", "==", "in", "and"]), inner).map(
            " ".join
        )
        | inner.map(lambda e: f"[{e}, {e}]")
        | inner.map(lambda e: f"{{'a': {e}}}")
        | st.tuples(
            inner,
            st.sampled_from(["length", "list", "join", "replace('a','b')", "int", "string", "first", "d", "tojson"]),
        ).map(lambda pair: f"({pair[0]}) | {pair[1]}")
        | inner.map(lambda e: f"({e}).upper()")
        | inner.map(lambda e: f"({e})[0]")
    ),
    max_leaves=8,
)
pieces = st.one_of(
    expressions.map(lambda e: f"{{{{ {e} }}}}"),
    expressions.map(lambda e: f"{{% for x in {e} %}}{{{{ x }}}}{{% endfor %}}"),
    expressions.map(lambda e: f"{{% set x = {e} %}}"),
    st.text(alphabet="{}%#-abx'\"()[]|.~ \n", max_size=20),
    st.text(max_size=20),
)


@given(st.lists(pieces, max_size=6).map("".join))
def test_raises_nothing_but_invalid(text: str) -> None:
    for renders in (templates.render, templates.render_document):
        try:
            assert isinstance(renders(text, where="f"), str)
        except Invalid as error:
            assert error.problems[0].path.startswith("f")  # noqa: PT017 - both outcomes are right


def test_jinja_is_imported_only_for_a_template() -> None:
    program = """
import sys
from time import process_time
from runmesh.projects import Templates
Templates({}).render("plain", where="f")
assert not {"jinja2", "pydantic", "nats"} & set(sys.modules), "imported without need"
Templates({}).render("{{ 1 }}", where="f")
assert "jinja2" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
