"""Prometheus rules and the Grafana dashboard: every expression parses, every metric is there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser as promql
import pytest
import yaml
from prometheus_client import REGISTRY
from pydantic import SecretStr

from evpower.bootstrap.server import build
from evpower.config import Settings

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
# Labels that Prometheus adds, and that its kinds of metrics have.
ADDED = {"job", "instance", "le", "__name__"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def rules() -> list[dict[str, Any]]:
    return [
        rule
        for file in RULES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> dict[str, str]:
    """Every expression by where it stands; Grafana's variables have a value."""
    named = {rule["alert"]: rule["expr"] for rule in rules()}
    for file in DASHBOARDS:
        for panel in panels(json.loads(file.read_text())):
            for target in panel.get("targets", ()):
                name = f"{file.stem}: {panel['title']} {target['refId']} {panel['id']}"
                named[name] = target["expr"].replace("$__rate_interval", "5m")
    return named


EXPRESSIONS = expressions()


def selectors(expression: str) -> list[Any]:
    """The selectors of an expression."""
    selected: list[Any] = []

    def visit(part: Any) -> None:
        if isinstance(part, promql.VectorSelector):
            selected.append(part)

    promql.walk(promql.parse(expression), visit)
    return selected


def grouped_by(expression: str) -> set[str]:
    """The labels by which an expression groups or joins."""
    labels: set[str] = set()

    def visit(part: Any) -> None:
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            labels.update(part.modifier.labels)

    promql.walk(promql.parse(expression), visit)
    return labels


@pytest.fixture
async def series(dsn: str) -> dict[str, set[str]]:
    """The names of a serving process's real /metrics, each with its labels."""
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="development",
        database_url=SecretStr(dsn),
        supabase_url="http://127.0.0.1:1",
        supabase_secret_key=SecretStr("sb_secret_1"),
        nats_url=SecretStr(""),
    )
    app = build(settings, "all")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://evpower") as http:
            text = (await http.get("/metrics")).text
    return dict(_series(text))


def _series(text: str) -> Iterator[tuple[str, set[str]]]:
    labels = {
        name: set(getattr(collector, "_labelnames", ()))
        for collector, names in REGISTRY._collector_to_names.items()
        for name in names
    }
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        for suffix in SUFFIXES.get(kind, ("",)):
            full = name if name.endswith(suffix) else name + suffix
            yield full, labels.get(full, labels.get(name, set()))


def test_there_are_rules_and_a_dashboard() -> None:
    assert len(rules()) > 20
    assert len(EXPRESSIONS) > len(rules()) + 30
    assert len({rule["alert"] for rule in rules()}) == len(rules())


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_is_promql(name: str) -> None:
    assert selectors(EXPRESSIONS[name])


async def test_every_metric_and_label_is_one_of_the_product_s(series: dict[str, set[str]]) -> None:
    wrong: list[str] = []
    for name, expression in EXPRESSIONS.items():
        known: set[str] = set()
        for selector in selectors(expression):
            if selector.name not in series:
                wrong.append(f"{name}: there is no {selector.name}")
                continue
            known |= series[selector.name]
            used = {matcher.name for matcher in selector.matchers.matchers}
            wrong += [
                f"{name}: {selector.name} has no label {label}"
                for label in used - series[selector.name] - ADDED
            ]
        wrong += [f"{name}: no label {label}" for label in grouped_by(expression) - known - ADDED]
    assert wrong == []


def test_a_metric_that_is_not_there_is_seen() -> None:
    [selector] = selectors("sum by (code) (rate(evpower_nothing_total{a='b'}[5m])) > 1")
    assert selector.name == "evpower_nothing_total"
    assert [matcher.name for matcher in selector.matchers.matchers] == ["a"]
    assert grouped_by("sum by (code) (rate(evpower_nothing_total[5m]))") == {"code"}
    with pytest.raises(ValueError, match=r"unclosed|invalid|expected"):
        promql.parse("sum(rate(evpower_nothing_total[5m])")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_says_how_grave_it_is_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"grave", "warning"}
    assert rule["annotations"]["summary"]
    file, _, heading = rule["annotations"]["runbook"].partition(", ")
    text = (ROOT / file).read_text()
    assert heading.strip('"') in text
    if heading.startswith('"'):
        assert re.search(rf"^#+ {re.escape(heading.strip(chr(34)))}", text, re.MULTILINE)
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert label in grouped_by(rule["expr"])


def test_the_page_has_every_rule_with_its_threshold_and_no_other() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    row = re.compile(r"^\| `(EvPower\w+)` \| (?:grave|warning) \| (.+?) \|$", re.MULTILINE)
    listed = dict(row.findall(text))
    assert set(listed) == {rule["alert"] for rule in rules()}
    for rule in rules():
        threshold = re.split(r" (?:>|==) ", rule["expr"])[-1]
        shown = {"26 * 3600": "26 h", "0.01": "1 %", "0.2": "20 %", "0.5": "50 %"}
        assert shown.get(threshold, threshold) in listed[rule["alert"]], rule["alert"]
        if "for" in rule:
            assert rule["for"] in listed[rule["alert"]], rule["alert"]


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        ids = [panel["id"] for panel in panels(dashboard)]
        assert len(ids) == len(set(ids))
        assert {"uid", "title", "schemaVersion", "templating"} <= set(dashboard)
        for panel in panels(dashboard):
            assert set(panel["gridPos"]) == {"h", "w", "x", "y"}
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
            if panel["type"] != "row":
                assert panel["targets"]
                assert panel["datasource"]["uid"] == "${datasource}"
