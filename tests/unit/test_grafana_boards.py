"""The boards for Grafana: what the generator makes, whole, and asking only for what there is."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus import BOARDS, board_queries, documented_metrics, metrics_in, panels, rules, run

QUERIES = board_queries()
EACH_BOARD = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)


def load(board: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(board.read_text(encoding="utf-8"))
    return loaded


def sources(node: Any) -> list[Any]:
    """Every reference to a data source, wherever it is."""
    if isinstance(node, list):
        return [found for item in node for found in sources(item)]
    if not isinstance(node, dict):
        return []
    own = [node["datasource"]] if "datasource" in node else []
    return own + [found for item in node.values() for found in sources(item)]


def test_the_committed_boards_are_those_that_the_generator_makes() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="not installed: scripts/install dev")
    from boards.__main__ import texts

    assert {board.name: board.read_text(encoding="utf-8") for board in BOARDS} == texts()


@EACH_BOARD
def test_grafanas_schema_knows_every_member_of_a_board(board: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="not installed: scripts/install dev")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    read = Dashboard.from_json(load(board))

    assert json.loads(json.dumps(read, cls=JSONEncoder)) == load(board)


def test_every_board_has_an_address_of_its_own() -> None:
    uids = [load(board)["uid"] for board in BOARDS]

    assert sorted(uids) == ["farthing-budgets", "farthing-spend"]


@EACH_BOARD
def test_panels_and_their_queries_are_told_apart(board: Path) -> None:
    ids = [panel["id"] for panel in panels(board)]

    assert len(set(ids)) == len(ids)
    for panel in panels(board):
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert all(letters), panel["title"]
        assert len(set(letters)) == len(letters), panel["title"]


@EACH_BOARD
def test_no_panel_covers_another(board: Path) -> None:
    places = [panel["gridPos"] for panel in panels(board)]

    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@EACH_BOARD
def test_everything_reads_the_source_that_is_chosen_above_the_board(board: Path) -> None:
    found = sources(load(board))
    names = [variable["name"] for variable in load(board)["templating"]["list"]]

    assert found
    assert all(source == {"type": "prometheus", "uid": "$datasource"} for source in found)
    assert names == ["datasource", "feature"]


@EACH_BOARD
def test_the_features_to_choose_from_are_those_of_the_configuration_and_all_means_unregistered_ones_too(
    board: Path,
) -> None:
    _, features = load(board)["templating"]["list"]

    assert metrics_in(features["query"]) == {"farthing_feature_info"} <= documented_metrics()
    assert features["allValue"] == ".*"


@EACH_BOARD
def test_every_panel_explains_itself_and_has_a_unit(board: Path) -> None:
    shown = [panel for panel in panels(board) if panel["type"] != "row"]

    assert all(panel["description"].endswith(".") for panel in shown)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in shown)


def test_every_metric_that_a_board_asks_for_exists() -> None:
    asked = set().union(*(metrics_in(query.expr) for query in QUERIES))
    recorded = {name for query in QUERIES for name in re.findall(r"\w+:farthing_\w+:\w+", query.expr)}

    assert asked <= documented_metrics()
    assert recorded <= {rule["record"] for rule in rules() if "record" in rule}


def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    asked = [query.asked(shown="7d", lately="1m") for query in QUERIES]
    records = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(asked)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": records}]}))

    run("promtool", "check", "rules", file)

    assert not any("$" in expr for expr in asked)
