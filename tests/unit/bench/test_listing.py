"""`metabench list --json`: what programs read agrees with the registries and the recipes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from metabench.bench.cli.main import main
from metabench.bench.worlds import resolve


def test_list_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    named = {part: {entry["name"]: entry for entry in found[part]} for part in found if part != "schema"}
    maml = named["algorithms"]["maml"]
    assert maml["worlds"] == ["few-shot images", "control"] and "2017" in maml["paper"]
    assert maml["settings"]["first_order"]["default"] is False and maml["settings"]["first_order"]["meaning"]
    variant = {"name": "maml-noconv", "variant_of": "maml", "worlds": ["few-shot images"]}
    assert named["algorithms"]["maml-noconv"] == variant | {"changes": {"backbone": "mlp"}}
    benchmark = named["benchmarks"]["omniglot-20w1s"]
    assert benchmark["protocol"] | {"dataset": "omniglot", "ways": 20, "shots": 1} == benchmark["protocol"]
    assert benchmark["protocol_of"]["protonet"]["norm"] == "running"
    assert benchmark["protocol_of"]["maml"]["norm"] == "transductive"
    for name, own in benchmark["protocol_of"].items():
        recipe = dataclasses.asdict(resolve(name, "omniglot-20w1s"))
        own_fields = {field: recipe[field] for field in benchmark["protocol"] | own}
        assert json.loads(json.dumps(own_fields)) == benchmark["protocol"] | own
    glyphs, absent = named["data_sets"]["glyphs"], named["data_sets"]["omniglot"]
    assert (glyphs["present"], glyphs["classes"], glyphs["obtain"]) == (True, 350, "")
    assert (absent["present"], absent["obtain"]) == (False, "metabench data download omniglot")
    cheetah = named["environments"]["cheetah-vel"]
    assert (cheetah["horizon"], cheetah["observation_size"], cheetah["action_size"]) == (100, 20, 6)
    assert cheetah["seconds_a_step"] == pytest.approx(0.05) and named["benchmarks"]["cheetah-vel"]["world"] == "control"
