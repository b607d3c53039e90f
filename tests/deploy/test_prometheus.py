"""Prometheus' files: valid, about metrics that exist, and every alert tested both ways with a page in the runbook."""

import re
import subprocess
from collections import defaultdict

import pytest

from tests.deploy.tools import DEPLOY, ROOT, known_metrics, load_yaml, metric_names, program, rule_groups

ALERTS = [rule for group in rule_groups() for rule in group["rules"] if "alert" in rule]
TEST_FILES = sorted((DEPLOY / "prometheus/tests").glob("*.yml"))


def promtool(*arguments: str) -> str:
    command = [program("promtool", "prometheus"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=DEPLOY / "prometheus", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_scrape_configuration_is_valid() -> None:
    promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_every_alert_fires_and_stays_silent_as_its_cases_say(path) -> None:
    promtool("test", "rules", str(path))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = defaultdict(set)
    for path in TEST_FILES:
        for case in load_yaml(path)["tests"]:
            for check in case["promql_expr_test"]:
                name = re.search(r'alertname="(\w+)"', check["expr"])
                assert name
                cases[name.group(1)].add(bool(check["exp_samples"]))
    assert dict(cases) == {alert["alert"]: {True, False} for alert in ALERTS}


def test_rules_name_only_metrics_that_exist() -> None:
    known = known_metrics()
    used = {name for group in rule_groups() for rule in group["rules"] for name in metric_names(rule["expr"])}
    assert used - known == set()
    # The reader of expressions does find them.
    assert {"up", "celery_workers", "registration_journeys_total"} <= used


def test_every_alert_says_how_urgent_it_is_and_leads_to_its_place_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), flags=re.M)
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"
    assert sorted(headings) == sorted(alert["alert"] for alert in ALERTS)
