"""The rules for Prometheus and the routes for Alertmanager: right by their own tools, complete by ours."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import (
    CONFIG,
    ROOT,
    RULE_FILES,
    UNIT_TESTS,
    alerts,
    documented_metrics,
    metrics_in,
    program,
    rules,
    run,
)

ALERTS = alerts()


def test_promtool_finds_the_rules_and_the_configuration_right() -> None:
    found = run("promtool", "check", "config", CONFIG / "prometheus.yml")

    assert all(str(file) in found for file in RULE_FILES)


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_the_rules_pass_their_unit_tests(file: Path) -> None:
    run("promtool", "test", "rules", file)


def test_every_metric_that_a_rule_asks_for_exists() -> None:
    asked = set().union(*(metrics_in(rule["expr"]) for rule in rules()))

    assert asked
    assert asked <= documented_metrics()


def test_every_recorded_series_that_a_rule_asks_for_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    names = {word for rule in rules() for word in rule["expr"].replace("(", " ").split() if ":farthing_" in word}

    assert {name.split("{")[0].rstrip("),") for name in names} <= recorded


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
class TestAlert:
    def test_it_has_a_severity_by_which_it_is_routed(self, alert: dict[str, Any]) -> None:
        assert alert["labels"]["severity"] in ("page", "ticket")

    def test_it_says_what_happened_why_and_which_line_stops_it(self, alert: dict[str, Any]) -> None:
        assert {"summary", "cause", "stop"} <= alert["annotations"].keys()

    def test_it_names_the_team_where_it_is_about_a_feature(self, alert: dict[str, Any]) -> None:
        speaks_of_a_feature = "$labels.feature" in alert["annotations"]["summary"]

        assert ("team" in alert["labels"]) == speaks_of_a_feature

    def test_it_is_seen_to_fire_in_a_unit_test(self, alert: dict[str, Any]) -> None:
        assert alert["alert"] in fired()


def fired() -> set[str]:
    """The alerts that some unit test expects to fire."""
    tests = [test for file in UNIT_TESTS for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    return {case["alertname"] for case in cases if case["exp_alerts"]}


def test_amtool_finds_the_routes_right() -> None:
    run("amtool", "check-config", CONFIG / "alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("team=support", "feature=support", "severity=page"), "support"),
        (("team=support", "feature=support", "severity=ticket"), "support"),
        (("team=marketing", "feature=drafting", "severity=page"), "marketing"),
        (("feature=drafting", "severity=page"), "marketing"),
        (("severity=ticket",), "platform"),
        (("severity=page", "instance=gateway:4141"), "platform"),
    ],
)
def test_an_alert_goes_to_the_owner_of_its_feature(labels: tuple[str, ...], receiver: str) -> None:
    program("amtool")

    routed = run("amtool", "config", "routes", "test", "--config.file", CONFIG / "alertmanager.yml", *labels)

    assert routed.strip() == receiver


def test_the_page_about_alerts_names_each_with_its_severity() -> None:
    page = (ROOT / "docs" / "alerts-prometheus.md").read_text(encoding="utf-8")

    named = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, flags=re.MULTILINE)

    assert dict(named) == {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS}
