"""deploy/monitoring/: rules for Prometheus and a board for Grafana, held against the figures that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.running import ROOT

from imageserver import metrics
from imageserver.limits import TABLE, option

MONITORING = ROOT / "deploy" / "monitoring"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian's package prometheus)")


def expressions() -> list[str]:
    """All that the board asks."""
    board = json.loads((MONITORING / "board.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(found) > 10
    return found


def test_rules_and_board_ask_for_figures_that_there_are() -> None:
    known = {metric.name: metric for metric in metrics.ALL}
    text = (MONITORING / "alerts.yml").read_text() + "\n".join(expressions())
    names = set(re.findall(r"imageserver_\w+", text)) - {"imageserver_session"}
    assert len(names) > 15
    for name in names:
        metric = known.get(name) or known[re.sub("_(bucket|sum|count)$", "", name)]
        assert metric.kind == "histogram" or metric.name == name
        for selected in re.findall(rf"{name}{{([^}}]*)}}", text):
            labels = {pair.split("=")[0].rstrip("!~") for pair in selected.split(",")}
            assert labels <= {*metric.labels, "le", "job", "instance"}, selected
    labels = {row.label or option(name)[2:] for name, row in TABLE.items()}
    assert {"connections", "memory-budget", "spare-descriptors"} <= labels
    assert 'le="0.1"' in text and 0.1 in metrics.LOOP_LAG.bounds


def test_the_board_has_its_panels_side_by_side() -> None:
    panels = json.loads((MONITORING / "board.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels})
    assert all(panel["title"] and panel["type"] == "timeseries" for panel in panels)


@needs_promtool
def test_promtool_reads_rules_and_board(tmp_path: Path) -> None:
    rules = [{"record": f"a:{number}", "expr": text} for number, text in enumerate(expressions())]
    groups = {"groups": [{"name": "board", "rules": rules}]}
    (tmp_path / "board.yml").write_text(json.dumps(groups).replace("$instance", ".*"))
    for path in (MONITORING / "alerts.yml", tmp_path / "board.yml"):
        assert PROMTOOL is not None
        done = subprocess.run([PROMTOOL, "check", "rules", path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


ALARMS = """
rule_files: [alerts.yml]
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="imageserver", instance="a"}', values: '1x10 0x10'}
      - {series: 'imageserver_worker_restarts_total{instance="a"}', values: '0x10 1x10'}
      - {series: 'imageserver_limits_hit_total{instance="a", limit="connections"}', values: '0x10 5x10'}
      - {series: 'imageserver_disk_failing{instance="a", what="snippets"}', values: '0x10 1x10'}
      - {series: 'imageserver_loop_lag_seconds_bucket{instance="a", le="0.1"}', values: '0+118x20'}
      - {series: 'imageserver_loop_lag_seconds_count{instance="a"}', values: '0+120x20'}
    alert_rule_test:
      - {eval_time: 9m, alertname: ImageServerDown}
      - {eval_time: 9m, alertname: ImageServerWorkerDied}
      - {eval_time: 9m, alertname: ImageServerFull}
      - {eval_time: 9m, alertname: ImageServerDiskFailing}
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 15m
        exp_samples:
          - {labels: '{alertname="ImageServerDown"}', value: 1}
          - {labels: '{alertname="ImageServerWorkerDied"}', value: 1}
          - {labels: '{alertname="ImageServerFull"}', value: 1}
          - {labels: '{alertname="ImageServerDiskFailing"}', value: 1}
          - {labels: '{alertname="ImageServerLoopLate"}', value: 1}
"""


@needs_promtool
def test_alarms_are_raised_and_not_before(tmp_path: Path) -> None:
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    (tmp_path / "test.yml").write_text(ALARMS)
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", "test.yml"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
