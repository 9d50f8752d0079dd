"""The file of published numbers: what it must hold, and that a bad entry is refused by file, entry and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from metabench.bench.leaderboard.protocol import CONTROL_FIELDS, FIELDS, UNSTATED, VISION_FIELDS, compare
from metabench.bench.leaderboard.published import Entry, Interval, PublishedError, load
from metabench.bench.recipes.recipe import ControlRecipe
from metabench.bench.worlds import control_build, resolve
from metabench.envs import ENVIRONMENTS
from tests.support.synthetic import protocol_of

FILE = Path(__file__).parents[3] / "results" / "published.yaml"
ENTRIES = {entry.id: entry for entry in load(FILE)}


@pytest.mark.parametrize(
    ("name", "value", "half_width", "kind"),
    [
        ("maml-omniglot-5w1s", 98.7, 0.4, "ci95"),
        ("maml-omniglot-20w5s", 98.9, 0.2, "ci95"),
        ("maml-noconv-omniglot-5w1s", 89.7, 1.1, "ci95"),
        ("maml-mini-imagenet-5w1s", 48.70, 1.84, "ci95"),
        ("maml-fo-mini-imagenet-5w5s", 63.15, 0.91, "ci95"),
        ("anil-omniglot-20w1s", 96.2, 0.5, "std-over-seeds"),
        ("anil-mini-imagenet-5w5s", 61.5, 0.5, "std-over-seeds"),
        ("meta-sgd-omniglot-5w1s", 99.53, 0.26, "ci95"),
        ("protonet-omniglot-20w5s", 98.9, None, "none"),
        ("protonet-mini-imagenet-5w1s", 49.42, 0.78, "ci95"),
        ("metaoptnet-mini-imagenet-5w5s", 78.63, 0.46, "ci95"),
        ("metaoptnet-rr-mini-imagenet-5w1s", 61.41, 0.61, "ci95"),
        ("baseline-mini-imagenet-5w1s", 42.11, 0.71, "ci95"),
        ("baseline-mini-imagenet-5w5s", 62.53, 0.69, "ci95"),
        ("baseline-pp-mini-imagenet-5w1s", 48.24, 0.75, "ci95"),
        ("baseline-pp-mini-imagenet-5w5s", 66.43, 0.63, "ci95"),
        ("maml-quick-draw-5w1s", 59.36, None, "none"),
        ("maml-quick-draw-5w1s.100-samples", 68.32, None, "none"),
        ("anil-cheetah-dir", 363.2, 14.8, "std-over-seeds"),
        ("maml-cheetah-vel", -139.0, 18.9, "std-over-seeds"),
        ("anil-navigation", -20.1, 2.3, "std-over-seeds"),
        ("maml-omniglot-20w1s.oscarknagg", 91.6, None, "none"),
        ("maml-omniglot-20w1s.katerakelly", 92.0, None, "none"),
        ("maml-fo-omniglot-20w1s.haebeom-lee", 94.5, None, "none"),
        ("maml-fo-mini-imagenet-5w1s.haebeom-lee", 48.67, None, "none"),
        ("protonet-mini-imagenet-5w5s.yinboc", 66.9, None, "none"),
        ("protonet-mini-imagenet-5w1s.libfewshot", 47.05, 0.35, "ci95"),
        ("baseline-pp-mini-imagenet-5w1s.libfewshot", 46.21, 0.31, "ci95"),
    ],
)
def test_values_are_those_of_the_papers(name: str, value: float, half_width: float | None, kind: str) -> None:
    entry = ENTRIES[name]
    assert (entry.value, entry.interval.half_width, entry.interval.kind) == (value, half_width, kind)


def test_the_reference_of_a_row_is_the_algorithms_own_paper_where_it_has_a_number() -> None:
    first: dict[tuple[str, str], str] = {}
    for entry in ENTRIES.values():
        first.setdefault((entry.algorithm, entry.benchmark), entry.id)
    own = [e for e in ENTRIES.values() if not e.system and e.id.count(".") == 0]
    assert len(own) > 30
    assert {first[e.algorithm, e.benchmark] for e in own} == {e.id for e in own}


def test_what_was_only_recalled_is_marked() -> None:
    assert sorted(e.id for e in ENTRIES.values() if e.verification == "memory") == [
        "meta-sgd-omniglot-20w1s",
        "meta-sgd-omniglot-20w5s",
        "protonet-omniglot-lake-20w1s",
        "protonet-omniglot-lake-20w1s.minimal",
    ]


def test_curves_are_the_only_entries_without_a_value_and_are_all_of_control() -> None:
    without = [e for e in ENTRIES.values() if e.value is None]
    assert {e.metric for e in without} == {"return"}
    assert {e.cite for e in without} == {
        "Rothfuss et al. 2019",
        "Rothfuss et al. 2019 (re-run)",
        "Rakelly et al. 2019 (re-run)",
    }
    assert all("urves" in e.notes for e in without)


@pytest.mark.parametrize(
    ("name", "curve", "width"),
    [
        ("maml-navigation-maml", [-40.41, -11.68, -3.33, -3.23, -3.35], 2.19),
        ("untrained-navigation-maml", [-82.66, -57.96, -53.84, -46.81, -42.91], 1.86),
        ("oracle-navigation-maml", [-2.29], 0.14),
        ("maml-cheetah-dir-maml", [-50.69, 293.19, 313.48, 315.65], 17.23),
        ("untrained-cheetah-dir-maml", [-35.73, 21.83, 62.32, 86.18], 2.94),
        ("pretrained-cheetah-dir-maml", [-43.03, -24.75, -12.85, 19.57], 9.43),
        ("oracle-cheetah-dir-maml", [442.69], 8.49),
        ("maml-cheetah-vel-maml", [-129.53, -78.57, -66.62, -60.78], 9.98),
        ("untrained-cheetah-vel-maml", [-254.83, -254.33, -246.79, -230.83], 35.09),
        ("pretrained-cheetah-vel-maml", [-158.0, -135.39, -128.47, -133.61], 15.24),
        ("oracle-cheetah-vel-maml", [-54.47], 7.02),
        ("maml-ant-forward-backward-maml", [8.66, 499.15, 500.68, 499.11], 32.51),
        ("oracle-ant-forward-backward-maml", [524.8], 12.55),
        ("maml-ant-vel-maml", [30.58, 96.74, 100.06, 101.41], 21.0),
        ("oracle-ant-vel-maml", [107.89], 20.22),
    ],
)
def test_mamls_own_returns_are_those_of_its_code(name: str, curve: list[float], width: float) -> None:
    """Of 40 test tasks after 0, 1, 2 … updates; compared is the one after the update that it was trained for."""
    entry = ENTRIES[name]
    assert [point.value for point in entry.adaptation] == (curve if len(curve) > 1 else [])
    assert entry.protocol["updates"] == (1 if len(curve) > 1 else 0)
    assert (entry.value, entry.interval.half_width) == (curve[entry.protocol["updates"]], width)
    assert (entry.cite, entry.protocol["test_tasks"]) == ("Finn et al. 2017", 40)


def test_a_number_of_unknown_settings_stands_beside_the_likeliest_row_and_says_what_others_take_for_granted() -> None:
    entry = ENTRIES["maml-cheetah-dir"]
    assert entry.benchmark not in entry.beside
    assert list(entry.beside) == ["cheetah-dir"]
    assert entry.beside["cheetah-dir"].endswith("pytorch-maml-rl of 2020, which its date makes unlikely")


def test_names_are_those_that_the_command_line_knows() -> None:
    for entry in ENTRIES.values():
        for benchmark in (entry.benchmark, *entry.beside):
            assert resolve(entry.algorithm, benchmark).algorithm == entry.algorithm


def test_protocol_fields_are_those_of_a_record() -> None:
    own = protocol_of(resolve("protonet", "omniglot-5w1s"))
    assert {k: type(own[k]) for k in VISION_FIELDS if k != "precision"} | {"precision": str} == dict(VISION_FIELDS)
    assert set(own) - set(VISION_FIELDS) == {"data_digest", "data_notes"}
    control = control_protocol("maml", "cheetah-dir-maml")
    assert {k: type(control[k]) for k in CONTROL_FIELDS if k not in ("precision", "action_scaling")} == {
        k: kind for k, kind in CONTROL_FIELDS.items() if k not in ("precision", "action_scaling")
    }
    assert set(control) - set(CONTROL_FIELDS) == {"variant"}


def control_protocol(algorithm: str, benchmark: str) -> dict[str, Any]:
    recipe = resolve(algorithm, benchmark)
    assert isinstance(recipe, ControlRecipe)
    return control_build.protocol(recipe, ENVIRONMENTS[benchmark])


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES.values() if e.benchmark.endswith("-maml") and e.value is not None], ids=lambda e: e.id
)
def test_mamls_variants_are_run_under_its_papers_protocol(entry: Entry) -> None:
    own = control_protocol(entry.algorithm, entry.benchmark) | {"updates": entry.protocol["updates"]}
    found = compare(own, entry.protocol, "return")
    assert found.decisive == found.noted == ()
    assert found.assumed == ("precision", "selection")


@pytest.mark.parametrize("algorithm", ["maml", "protonet"])
def test_the_paper_recipe_agrees_with_the_paper_in_every_stated_field(algorithm: str) -> None:
    stated = {k: v for k, v in ENTRIES[f"{algorithm}-omniglot-5w1s"].protocol.items() if v != UNSTATED}
    own = protocol_of(resolve(algorithm, "omniglot-5w1s"))
    assert len(stated) >= 20
    ours = own | {"split": own["split"].removesuffix("/seed0")}
    assert {k: (ours[k], v) for k, v in stated.items() if ours[k] != v} == {
        "resampling": ("lanczos", "nearest")  # Pillow's filter for pictures of 1 bit, whatever their code asks for
    }


GOOD: dict[str, Any] = {
    "id": "one",
    "authors": "A et al.",
    "paper": "P",
    "venue": "V",
    "year": 2020,
    "table": "T",
    "algorithm": "maml",
    "benchmark": "omniglot-5w1s",
    "metric": "accuracy",
    "value": 50.0,
    "interval": {"half_width": 1.0, "kind": "ci95"},
    "verification": "primary",
    "source": "S",
    "protocol": dict.fromkeys(VISION_FIELDS, UNSTATED) | {"ways": 5, "shots": 1},
}


def saved(folder: Path, *entries: Any) -> Path:
    path = folder / "published.yaml"
    path.write_text(yaml.safe_dump({"entries": list(entries)}))
    return path


def test_a_good_entry_is_read(tmp_path: Path) -> None:
    (entry,) = load(saved(tmp_path, GOOD))
    assert (entry.id, entry.cite, entry.system, entry.training, entry.protocol["ways"]) == (
        "one",
        "A et al. 2020",
        "",
        {},
        5,
    )


def without(field: str) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw.pop(field)


def put(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw.update(fields)


def protocol(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw.update(protocol={**raw["protocol"], **fields})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("value"), "entry one: value: is missing"),
        (without("id"), "entry number 1: id: is missing"),
        (put(id="One Two"), "entry One Two: id: is 'One Two', expected lower-case letters"),
        (put(value="98,7"), "entry one: value: is '98,7', expected a finite number"),
        (put(value=float("nan")), "entry one: value: is nan, expected a finite number"),
        (put(value=True), "entry one: value: is True, expected a finite number"),
        (put(value=101), "entry one: value: is 101, expected a percentage"),
        (put(year="2017"), "entry one: year: is '2017', expected a year or null"),
        (put(colour="red"), "entry one: colour: is no field of an entry; they are id, authors"),
        (put(metric=["accuracy"]), r"entry one: metric: is \['accuracy'\], expected one of accuracy, return"),
        (put(verification="sure"), "entry one: verification: is 'sure', expected one of primary"),
        (put(interval={"half_width": 1.0}), "entry one: interval: is .*, expected half_width, kind"),
        (put(interval={"half_width": 1.0, "kind": "sem"}), "entry one: interval.kind: is 'sem', expected one of ci95"),
        (put(interval={"half_width": -1, "kind": "ci95"}), "entry one: interval.half_width: is -1, expected a number"),
        (put(interval={"half_width": 1, "kind": "none"}), "entry one: interval.half_width: is given without"),
        (put(interval={"half_width": 1, "kind": "std-over-seeds"}), "entry one: interval.seeds: is None"),
        (put(interval={"half_width": 1, "kind": "ci95", "seeds": 3}), "entry one: interval.seeds: is 3"),
        (put(value=None), "entry one: interval.half_width: is given without a value"),
        (put(protocol="as usual"), "entry one: protocol: is str, expected fields"),
        (protocol(trained_on=5), "entry one: protocol.trained_on: is 5, expected str"),
        (protocol(horizon=100), "entry one: protocol.horizon: is no field of a protocol"),
        (protocol(ways=20), "entry one: protocol.ways: is 20, but the benchmark is omniglot-5w1s"),
        (protocol(shots=UNSTATED), "entry one: protocol.shots: is 'unstated', but the benchmark"),
        (protocol(queries="15"), "entry one: protocol.queries: is '15', expected int or 'unstated'"),
        (protocol(rotations_test=1), "entry one: protocol.rotations_test: is 1, expected bool"),
        (put(beside=["omniglot-20w1s"]), r"entry one: beside: is \['omniglot-20w1s'\], expected names"),
        (put(beside={"omniglot-20w1s": ""}), "entry one: beside: is .*, expected names .* what is taken for granted"),
        (put(beside={1: "why"}), "entry one: beside: is {1: 'why'}, expected names"),
        (lambda raw: raw.update(protocol={"ways": 5}), "entry one: protocol.dataset: is missing; 'unstated' says"),
        (put(training={"iterations": 0}), "entry one: training.iterations: is 0; known are iterations"),
        (put(training={"epochs": 5}), "entry one: training.epochs: is 5; known are iterations"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_refused(tmp_path: Path, spoil: Callable[[dict[str, Any]], None], message: str) -> None:
    raw = {**GOOD}
    spoil(raw)
    with pytest.raises(PublishedError, match=f"published.yaml: {message}"):
        load(saved(tmp_path, raw))


def test_an_id_is_used_once(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=r"published\.yaml: entry one: id: is used twice"):
        load(saved(tmp_path, GOOD, GOOD))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entries: [1, 2", "not readable: .*line 1"),
        ("entries:\n  - id: one\n    value: 1\n    value: 2\n", "not readable: 'value' is given twice.*line 4"),
        ("entries: !!python/object/apply:os.system ['true']", "not readable: .*could not determine a constructor"),
        ("- 1", "expected `entries`, a list"),
        ("entries: 3", "expected `entries`, a list"),
        ("entries: []\nmore: 1", "expected `entries`, a list"),
        ("entries: [3]", "entry number 1: entry: is int, expected fields"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(PublishedError, match=f"(?s)published.yaml: {message}"):
        load(path)
    with pytest.raises(PublishedError, match=r"absent\.yaml: not readable: .*No such file"):
        load(tmp_path / "absent.yaml")


def test_a_return_has_the_protocol_of_control(tmp_path: Path) -> None:
    raw = {**GOOD, "benchmark": "navigation", "metric": "return", "value": -20.3}
    with pytest.raises(
        PublishedError, match=r"entry one: protocol\.augmentation: is no field of a protocol; .*environment"
    ):
        load(saved(tmp_path, raw))
    (entry,) = load(saved(tmp_path, raw | {"protocol": dict.fromkeys(CONTROL_FIELDS, UNSTATED)}))
    assert entry.value == -20.3
    assert set(FIELDS) == {"accuracy", "return"}


CURVE: dict[str, Any] = {field: value for field, value in GOOD.items() if field != "value"} | {
    "benchmark": "navigation",
    "metric": "return",
    "interval": {"kind": "ci95"},
    "adaptation": [[-40.4, 4.1], [-11.7, 2.2], [-3.3, 0.6]],
    "protocol": dict.fromkeys(CONTROL_FIELDS, UNSTATED) | {"updates": 1},
}


def test_of_a_curve_the_point_after_the_published_number_of_updates_is_the_value(tmp_path: Path) -> None:
    (entry,) = load(saved(tmp_path, CURVE))
    assert entry.adaptation == ((-40.4, 4.1), (-11.7, 2.2), (-3.3, 0.6))
    assert (entry.value, entry.interval) == (-11.7, Interval(2.2, "ci95"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put(adaptation=[[1.0, 0.1]]), "adaptation: is .*, expected .value, half-width. after 0, 1, … updates"),
        (put(adaptation=[[1.0, 0.1], [2.0]]), "adaptation: is .*, expected .value, half-width."),
        (put(adaptation=[[1.0, 0.1], [2.0, -0.1]]), "adaptation: is .*, expected .value, half-width."),
        (put(adaptation=[[1.0, 0.1], [float("nan"), 0.1]]), "adaptation: is .*, expected .value, half-width."),
        (put(adaptation={"0": [1.0, 0.1]}), "adaptation: is .*, expected .value, half-width."),
        (put(value=-11.7), "value: is given twice: adaptation holds it, after 1 updates"),
        (put(interval={"kind": "ci95", "half_width": 2.2}), "half_width: is given twice: adaptation holds it, after 1"),
        (put(interval={"kind": "none"}), "interval.half_width: is given without a value or a kind"),
        (put(interval="wide"), "interval: is 'wide', expected half_width, kind"),
        (protocol(updates=3), "adaptation: has no point after protocol.updates, which is 3"),
        (protocol(updates=UNSTATED), "adaptation: has no point after protocol.updates, which is 'unstated'"),
        (put(protocol=None), "adaptation: has no point after protocol.updates, which is None"),
    ],
)
def test_a_bad_curve_is_refused(tmp_path: Path, spoil: Callable[[dict[str, Any]], None], message: str) -> None:
    raw = {**CURVE}
    spoil(raw)
    with pytest.raises(PublishedError, match=f"published.yaml: entry one: {message}"):
        load(saved(tmp_path, raw))


def test_a_work_that_has_an_address_has_it_in_all_its_entries() -> None:
    assert ENTRIES["maml-omniglot-5w1s"].url == "https://arxiv.org/abs/1703.03400"
    assert (
        ENTRIES["maml-ant-dir.promp-curves"].url == "https://arxiv.org/abs/1810.06784"
    )  # of ProMP's paper, not MAML's
    assert ENTRIES["maml-quick-draw-5w1s"].url == ""


@pytest.mark.parametrize(
    ("papers", "message"),
    [
        ("3", "papers: is int, expected titles with addresses"),
        ("{A: 'javascript:alert(1)'}", "papers: A: is 'javascript:alert(1)', expected an address, https://…"),
        ("{A: https://a.example/1}", "papers: 'A' is no entry's paper"),
    ],
)
def test_an_address_is_one_of_the_web_and_of_a_paper_that_is_there(tmp_path: Path, papers: str, message: str) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(f"papers: {papers}\nentries: []\n")
    with pytest.raises(PublishedError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"
