"""The leaderboard: built from records alone, byte for byte; what is no good record is set aside."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metabench.bench.leaderboard.board import assemble
from metabench.bench.leaderboard.markdown import code, embedded, escape, markdown
from metabench.bench.leaderboard.report import report_command
from metabench.bench.recipes.recipe import digest
from metabench.bench.records.rows import read
from metabench.bench.records.schema import file_name, sealed
from tests.support.synthetic import control_record, record, row, speed_record, write

PUBLISHED = Path(__file__).parents[3] / "results" / "published.yaml"
GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")  # one pixel
RECORDS = (
    record(schedule="short", mean=0.974),
    *(record(seed=s, mean=0.9865 + s / 1000, spread=0.01) for s in range(3)),
    record("protonet", mean=0.975),
    record("meta-sgd", "omniglot-20w1s", mean=0.9),
    record("metaoptnet", mean=0.96),
    record("maml-fo", "mini-imagenet-5w1s", diverged=True),
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with a few good records."""
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(tmp_path, *RECORDS)
    return tmp_path


def page(results: Path) -> str:
    return (results / "leaderboard.md").read_text(encoding="utf-8")


def cells(results: Path, start: str) -> list[str]:
    """The cells of the first table row that begins so."""
    line = next(line for line in page(results).splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def report(results: Path, *flags: str) -> int:
    return report_command(["--results", str(results), *flags])


def test_rows_hold_ours_published_verdict_and_links(results: Path) -> None:
    assert report(results) == 0
    name = file_name(RECORDS[0])
    rows = [line for line in page(results).splitlines() if line.startswith("| maml | omniglot-5w1s |")]
    assert len(rows) == 2
    paper, short = ([cell.strip() for cell in row.strip("|").split(" | ")] for row in rows)
    assert short == [
        "maml",
        "omniglot-5w1s",
        "97.40 ± 0.16",
        "98.7 ± 0.4 (Finn et al. 2017, Table 1)",
        "98.1 to 99.6 (3)",
        "**below**",
        "1.30 lower, beyond both intervals (together ± 0.43); 1 of 20 fields that decide unstated",
        "short, 4000 iterations",
        f"[0](records/{name})",
    ]
    assert paper[2] == "98.75 ± 0.08 (± 0.25 over 3 seeds)"  # t = 4.303, s = 0.1, √3
    assert paper[5:8] == [
        "**reproduced**",
        "0.05 higher, within both intervals (together ± 0.41); 1 of 20 fields that decide unstated",
        "paper, 60000 iterations",
    ]
    assert [text.split("]")[0] for text in paper[8].split(", ")] == ["[0", "[1", "[2"]
    assert (results / "records" / name).is_file()


def test_every_verdict_is_counted_and_explained(results: Path) -> None:
    report(results)
    text = page(results)
    assert "Verdicts: reproduced 1, below 3, unverified reference 1, not run " in text
    assert ", no published number 1.\n" in text
    assert cells(results, "meta-sgd | omniglot-20w1s")[5] == "**unverified reference**"
    assert cells(results, "metaoptnet | omniglot-5w1s")[3:7] == [
        "–",
        "–",
        "**no published number**",
        "nothing is published for it",
    ]
    assert cells(results, "maml-fo | mini-imagenet-5w1s")[2] == "diverged"
    assert "### protonet omniglot-5w1s paper: below\n" in text
    assert "- Label: short schedule: 4000 iterations, published 60000.\n" in text
    assert "- Not stated by the source, assumed as here: train shots, precision, selection.\n" in text
    assert (
        "| anil | omniglot-20w1s | 96.2 ± 0.5 std of 3 seeds (Raghu et al. 2020, Table 2) | – | primary | – |" in text
    )
    assert "| maml omniglot-5w1s short | 97.40 ± 0.16 | 99.6 (torchmeta (pytorch-maml), BENCHMARKS.rst) |" in text
    assert (
        "published with split vinyals, here random-1200-423/seed0; queries 15, here 1; rotations test no, here yes; "
        "backbone conv4-64, here" in text
    )


def test_provenance_names_command_commit_machine_and_time(results: Path) -> None:
    report(results)
    line = next(line for line in page(results).splitlines() if "<code>metabench run protonet" in line)
    assert line.endswith(
        "| <code>metabench run protonet omniglot-5w1s --seed 0 --threads 1</code> | <code>0123456789ab</code> "
        "| cpu: Imaginary 1000 | 1 × 1 | fp32 | 1 h 07 min + 12 s | 97.50 |"
    )


def test_the_same_records_give_the_same_bytes(results: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copy(PUBLISHED, other / "published.yaml")
    write(other, *reversed(RECORDS))
    assert report(results) == report(other) == 0
    for name in ("leaderboard.md", "leaderboard.html"):
        assert (results / name).read_bytes() == (other / name).read_bytes()


def test_check_notices_a_stale_page(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(results, "--check") == 1
    assert not (results / "leaderboard.md").exists()
    report(results)
    assert report(results, "--check") == 0
    write(results, record(seed=3))
    before = page(results)
    capsys.readouterr()
    assert report(results, "--check") == 1
    said = capsys.readouterr().err
    assert "leaderboard.md is not what the records give; run `metabench report`" in said
    assert "leaderboard.html is not what the records give" in said
    assert page(results) == before


def test_a_published_file_that_cannot_be_used_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "published.yaml").write_text("entries: [{id: one}]")
    assert report(results) == 2
    assert "published.yaml: entry one: authors: is missing" in capsys.readouterr().err
    assert not (results / "leaderboard.md").exists()


def test_explanations_belong_to_a_row(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "explanations.yaml"
    short = row(record(schedule="short")).key
    path.write_text(f"{short}: A fifteenth of the paper's iterations.\n")
    assert report(results) == 0
    assert "### maml omniglot-5w1s short: below\n\nA fifteenth of the paper's iterations.\n\n- Reference: 98.7" in page(
        results
    )
    path.write_text("maml omniglot-5w1s 0123456789ab: text\n")
    assert report(results) == 2
    said = capsys.readouterr().err
    assert "explanations.yaml: 'maml omniglot-5w1s 0123456789ab' is no row of the leaderboard; they are " in said
    assert short in said


def test_a_truncated_record_is_named_and_not_its_explanation(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = record(schedule="short")
    path = results / "records" / file_name(short)
    (results / "explanations.yaml").write_text(f"{row(short).key}: A fifteenth of the paper's iterations.\n")
    path.write_bytes(path.read_bytes()[:1000])
    assert report(results) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"metabench: record set aside: {path.name}: is not readable JSON (")
    assert said.count("\n") == 1


def test_a_flipped_digit_in_a_record_is_noticed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "records" / file_name(record(schedule="short"))
    text = path.read_text()
    path.write_text(text.replace('"train_seconds": 4000.0', '"train_seconds": 400.0'))
    assert report(results) == 1
    reason = "was changed since it was written: its checksum is that of another content"
    assert capsys.readouterr().err == f"metabench: record set aside: {path.name}: {reason}\n"


def test_no_record_at_all(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    assert report(tmp_path) == 0
    assert page(tmp_path).count("No record yet.") == 3
    assert "Verdicts: not run " in page(tmp_path)


def test_records_are_averaged_only_where_the_whole_protocol_agrees(tmp_path: Path) -> None:
    other = {"data_digest": "1" * 64}
    write(tmp_path, *(record(seed=s, mean=0.9, protocol=other if s == 2 else None) for s in range(3)))
    rows, _, refused = read(tmp_path / "records")
    assert sorted([r["seed"] for r in row.records] for row in rows) == [[0, 1], [2]]
    assert refused == []


def change(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda r: r.update(fields)


def within(part: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda r: r[part].update(fields)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (change(schema=1), "has schema 1, this version reads 2"),
        (change(schema=True), "has no schema"),
        (change(kind=None), "has no kind"),
        (change(recipe=None), "lacks its recipe or its protocol"),
        (change(algorithm="<script>alert(1)</script>"), "algorithm is '<script>alert(1)</script>', no name"),
        (change(benchmark="../../etc/passwd"), "benchmark is '../../etc/passwd', no name"),
        (within("recipe", schedule="x|y"), "schedule is 'x|y', no name"),
        (change(algorithm="maml"), "algorithm is maml, its recipe says 'anil'"),
        (change(seed="0"), "seed is '0', expected a whole number"),
        (change(seed=-1), "seed is -1, expected a whole number"),
        (change(recipe_digest="../x"), "recipe_digest is '../x', its recipe has "),
        (within("recipe", iterations=1), "recipe_digest is "),
        (within("recipe", momentum=0.5), "its recipe has a field 'momentum' that this version does not know"),
        (change(trained_recipe=[]), "trained_recipe is [], expected the fields of a recipe"),
        (change(trained_recipe={"widht": 1}), "its recipe has a field 'widht' that this version does not know"),
        (change(trained_recipe={"width": 1}), "recipe_digest is "),
        (within("protocol", norm=["running"]), "protocol.'norm' is ['running'], expected a text or a number"),
        (change(seed=5), "is filed under another name than anil_omniglot-5w1s_"),
        (change(metric="loss"), "metric is 'loss', expected accuracy or return"),
        (change(status="fine"), "status is 'fine', expected complete or diverged"),
        (within("test", mean=[0.2, "0.9"]), "test lacks finite numbers under updates, mean and ci95"),
        (within("test", mean=[0.2, None]), "test lacks finite numbers"),
        (within("test", ci95=[0.1]), "test has not one mean and one interval for each number of updates"),
        (change(per_task=[10**400] * 600), "per_task holds something else than finite numbers"),
        (change(per_task=[0.9] * 599), "it has 599 scores, its protocol 600 test tasks"),
        (within("test", updates=[0, 1.5]), "test.updates is [0, 1.5], expected up to 100 rising whole numbers"),
        (within("test", updates=[1, 0]), "test.updates is [1, 0], expected up to 100 rising whole numbers"),
        (change(status="diverged: " + "x" * 1000), "status is 'diverged: xxx"),
        (change(curve=[{}] * 10_001), "its curve has 10001 points, more than 10000"),
        (within("provenance", packages=["torch"]), "provenance.packages holds something else than names with versions"),
        (within("provenance", packages={"torch": "9" * 201}), "provenance.packages holds something else"),
        (within("test", mean=[0.2, 1.2]), "an accuracy lies outside 0 … 1"),
        (within("test", mean=[0.2, 0.99]), "its mean or interval is not that of its 600 tasks"),
        (within("test", ci95=[0.2, 0.0001]), "its mean or interval is not that of its 600 tasks"),
        (change(provenance=[]), "lacks its provenance"),
        (within("provenance", command=7), "provenance.command is 7, expected a text"),
        (within("provenance", train_seconds=-1), "provenance.train_seconds is -1, expected a number of at least 0"),
    ],
)
def test_a_bad_record_is_set_aside_and_the_rest_is_built(
    results: Path, spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    good = record("anil", mean=0.96)
    path = results / "records" / file_name(good)
    spoil(good)
    path.write_text(json.dumps(sealed(good)))
    board = assemble(results)
    ((file, why),) = board.refused
    assert (file, why[: len(reason)]) == (path.name, reason)
    text = markdown(board)
    assert "## Records set aside\n" in text
    assert "<script" not in text
    assert "| anil | omniglot-5w1s | 96.00" not in text
    assert "| protonet | omniglot-5w1s | 97.50 ± 0.12 |" in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not readable JSON"),
        (b'{"schema": 1, "kind": "res', "is not readable JSON"),
        (b"\xff\xfe", "is not readable JSON"),
        (b"[" * 100_000, "is not readable JSON"),
        (b'{"schema": NaN}', "is not readable JSON (NaN is not a number)"),
        (b"[]", "has no schema"),
    ],
)
def test_a_file_that_is_no_record_is_set_aside(results: Path, content: bytes, reason: str) -> None:
    (results / "records" / "a_<img src=x onerror=alert(1)>.json").write_bytes(content)
    aside = markdown(assemble(results)).split("## Records set aside\n")[1]
    assert aside.strip().startswith("- <code>a&#95;&#60;img src=x onerror=alert(1)&#62;.json</code>: ")
    assert reason in aside


def test_the_exit_status_and_a_line_say_that_a_record_was_set_aside(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "records" / "b.json").write_text("{")
    (results / "records" / "a.json").write_text('{"schema": 3}')
    assert report(results) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "metabench: record set aside: a.json: has schema 3, this version reads 2"
    assert said[1].startswith("metabench: record set aside: b.json: is not readable JSON")
    for name in ("leaderboard.md", "leaderboard.html"):
        assert "97.50 ± 0.12" in (results / name).read_text(encoding="utf-8")


def test_a_link_is_not_followed(results: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("{}")
    (results / "records" / "link.json").symlink_to(outside)
    assert read(results / "records").refused == [("link.json", "is not a plain file")]


def test_other_kinds_of_records_are_left_alone(results: Path) -> None:
    (results / "records" / "more.json").write_text('{"schema": 2, "kind": "pears"}')
    assert read(results / "records").refused == []


def test_a_file_that_is_too_large_is_not_read(results: Path) -> None:
    with (results / "records" / "huge.json").open("w") as file:
        file.truncate(32 * 2**20 + 1)
    assert read(results / "records").refused == [("huge.json", "is larger than 32 MiB")]


def test_speed_has_its_section(results: Path) -> None:
    (results / "records" / "speed_vision.json").write_text(json.dumps(sealed(speed_record("maml <b>"))))
    assert report(results) == 0
    line = (
        "| maml &#60;b&#62; | learn2learn | 1.40 × (1.31 to 1.52) | 41.2 tasks/s | 29.5 tasks/s "
        "| cpu: Imaginary 1000, 2 threads | cccccccccccc | speed&#95;vision.json |"
    )
    assert line in page(results)
    html = (results / "leaderboard.html").read_text(encoding="utf-8")
    assert "<td>maml &lt;b&gt;</td><td>learn2learn</td><td>1.40 × (1.31 to 1.52)</td><td>41.2 tasks/s</td>" in html


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rows": "fast"}, "rows is 'fast', expected up to 200 workloads"),
        ({"rows": [{}] * 201}, "rows is [{}, "),
        ({"rows": [{"workload": "", "peer": "p"}]}, "a row compares '' with 'p', no names"),
        ({"suite": 3}, "suite is 3, expected a short text"),
        ({"provenance": None}, "lacks its provenance"),
        ({"provenance": {"command": "c", "device": 3, "commit": "c"}}, "provenance.device is 3, expected a text"),
    ],
)
def test_a_bad_record_of_speed_is_set_aside(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    (tmp_path / "speed.json").write_text(json.dumps(sealed(speed_record() | fields)))
    ((file, why),) = read(tmp_path).refused
    assert (file, why[: len(reason)]) == ("speed.json", reason)


@pytest.mark.parametrize(
    "ratio", [None, {"min": 1.0}, {"min": 2, "median": 1, "max": 3}, {"min": 0, "median": 1, "max": 1}]
)
def test_a_ratio_is_positive_and_in_its_range(tmp_path: Path, ratio: Any) -> None:
    (tmp_path / "speed.json").write_text(json.dumps(sealed(speed_record("w", ratio=ratio))))
    assert read(tmp_path).refused[0].reason.startswith("the ratio of w is ")


def test_a_number_of_unknown_settings_stands_beside_each_row_that_it_names(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(
        tmp_path,
        control_record("maml", "cheetah-dir", means=(-10.0, 100.0, 500.0)),
        control_record("maml", "cheetah-dir-2019", means=(-20.0, 200.0, 500.0)),
        control_record("maml", "cheetah-dir-pearl", means=(-20.0, 200.0, 500.0)),
        control_record("untrained", "cheetah-dir-2019", means=(-20.0, -15.0)),
        control_record("oracle", "cheetah-dir", means=(400.0,)),
    )
    assert report(tmp_path) == 0
    stated = "8 of 9 fields that decide unstated, the horizon (here 100) among them"
    assert cells(tmp_path, "maml | cheetah-dir")[2:7] == [
        "100.00 ± 19.43 after 1 update",
        "170.4 ± 21 std of 3 seeds (Raghu et al. 2020 (re-run), Table 2)",
        "–",
        "**below, protocol unstated**",
        f"70.40 lower, beyond both intervals (together ± 55.67); {stated}; taken for granted: that the paper of 2019 "
        "used the settings of pytorch-maml-rl of 2020, which its date makes unlikely",
    ]
    assert cells(tmp_path, "maml | cheetah-dir-2019")[3:6] == [
        "170.4 ± 21 std of 3 seeds (Raghu et al. 2020 (re-run), Table 2)",
        "–",
        "**reproduced, protocol unstated**",
    ]
    assert cells(tmp_path, "maml | cheetah-dir-2019")[6].startswith(
        "29.60 higher, within both intervals (together ± 55.67); 215.00 above untrained (together ± 27.48); 8 of 9"
    )
    assert "taken for granted" not in cells(tmp_path, "maml | cheetah-dir-2019")[6]
    assert cells(tmp_path, "maml | cheetah-dir-pearl")[5:7] == ["**not comparable**", "the source prints curves only"]
    assert cells(tmp_path, "oracle | cheetah-dir")[2:6] == [
        "400.00 ± 19.43 after 0 updates",
        "–",
        "–",
        "**no published number**",
    ]
    assert (
        "- Not stated by the source, assumed as here: observations, goals, horizon, time step, action scaling, rollouts"
        in (page(tmp_path))
    )
    not_run = page(tmp_path).split("## Published, not run here")[1]
    assert "| maml | cheetah-dir-maml |" in not_run
    assert "170.4" not in not_run


def test_the_range_of_re_implementations_is_that_of_others_with_the_same_kind_of_network(tmp_path: Path) -> None:
    """Not of the paper's own other tables, of deeper networks, or of what was not read."""
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    names = ("protonet", "mini-imagenet-5w1s"), ("meta-sgd", "omniglot-5w1s"), ("anil", "mini-imagenet-5w5s")
    write(tmp_path, *(record(*name, mean=0.5) for name in names))
    assert report(tmp_path) == 0
    # learn2learn, its issue 219, PaddleFSL, Chen et al., Lee et al., oscarknagg, yinboc, LibFewShot
    assert cells(tmp_path, "protonet | mini-imagenet-5w1s")[4] == "43 to 53.47 (8)"
    assert cells(tmp_path, "anil | mini-imagenet-5w5s")[4] == "61 to 63.2 (3)"
    assert cells(tmp_path, "meta-sgd | omniglot-5w1s")[4] == "–"
    (line, *_) = [line for line in assemble(tmp_path).lines if line.row.first["benchmark"] == "mini-imagenet-5w1s"]
    assert line.reruns == (43.0, 44.42, 47.05, 48.0, 48.85, 49.1, 49.1, 53.47)
    readme = embedded("<!-- leaderboard -->\n<!-- /leaderboard -->", assemble(tmp_path))
    assert "| 49.42 ± 0.78 (Snell et al. 2017, Table 2) | 43 to 53.47 (8) | " in readme


def test_a_published_adaptation_curve_stands_beside_ours(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    own = {"environment": "cheetah-dir", "horizon": 200, "time_step": 0.01, "action_scaling": 1}
    write(
        tmp_path,
        control_record("maml", "cheetah-dir-maml", means=(-40.0, 290.0, 310.0), protocol=own),
        control_record("untrained", "cheetah-dir-maml", means=(-36.0, 23.0), spread=8.0, protocol=own),
    )
    assert report(tmp_path) == 0
    assert cells(tmp_path, "maml | cheetah-dir-maml")[2:7] == [
        "290.00 ± 19.43 after 1 update",
        "293.19 ± 17.23 after 1 update (Finn et al. 2017, Figure 5)",
        "–",
        "**reproduced**",
        "3.19 lower, within both intervals (together ± 25.97); 267.00 above untrained (together ± 19.61)",
    ]
    assert [cells(tmp_path, str(k)) for k in range(4)] == [
        ["0", "-40.00 ± 19.43", "-50.69 ± 5.82"],
        ["1", "290.00 ± 19.43", "293.19 ± 17.23"],
        ["2", "310.00 ± 19.43", "313.48 ± 15.97"],
        ["3", "–", "315.65 ± 14.02"],
    ]
    html = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    (curve,) = re.findall(r'<svg[^>]*aria-label="Adaptation, cheetah-dir-maml".*?</svg>', html, re.S)
    assert "stroke-dasharray" in curve


def test_a_return_is_no_percentage(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(tmp_path, *(control_record(seed=s, means=(0.0, 100.0 + s, 120.0 + s)) for s in range(3)))
    assert report(tmp_path) == 0
    assert cells(tmp_path, "maml | cheetah-dir")[2] == "101.00 ± 19.43 (± 2.48 over 3 seeds) after 1 update"
    html = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    body = html.split("<h2>Overview</h2>")[1].split("<script>")[0]
    assert "Control: mean return of a test task" in body
    assert "Images" not in body.split('id="results"')[1]
    assert "return, %" not in body


def test_figures_of_a_record_are_shown(results: Path) -> None:
    stem = file_name(RECORDS[0]).removesuffix(".json")
    folder = results / "figures"
    folder.mkdir()
    (folder / f"{stem}.gif").write_bytes(GIF)
    for other, content in (("protonet", b"<svg onload=alert(1)>"), ("metaoptnet", b"GIF89a" + bytes(2_000_000))):
        name = file_name(record(other, mean=0.975 if other == "protonet" else 0.96))
        (folder / name.replace(".json", ".gif")).write_bytes(content)
    assert report(results) == 0
    assert f"![Adaptation to a test task, seed 0](figures/{stem}.gif)" in page(results)
    html = (results / "leaderboard.html").read_text(encoding="utf-8")
    assert html.count("<img ") == 1
    assert html.count(f'<a href="figures/{stem}.gif">') == 2
    assert html.count(".gif") == 2


def test_text_of_a_record_does_nothing_in_the_page(results: Path) -> None:
    evil = record("anil", mean=0.96)
    evil["provenance"] |= {
        "command": "x`|</code><script>alert(1)</script>\n# heading [a](javascript:b) ![i](http://e.vil)",
        "device": "**bold** www.evil.example \ud800 \u202e \x00",
        "commit": "<b>",
    }
    evil["recipe"] |= {"split": "<script>|`", "dataset": "own"}  # of no recipe here, so its command is shown as typed
    evil["recipe_digest"] = digest(evil["recipe"])
    worse = record("anil", mean=0.95)
    worse["recipe"] |= {"split": "<script>|`"}  # shown as a flag
    worse["recipe_digest"] = digest(worse["recipe"])
    for bad in (evil, worse):
        (results / "records" / file_name(bad)).write_text(json.dumps(sealed(bad)))
    assert report(results) == 0
    text = page(results)
    assert "<script" not in text
    assert "\n# heading" not in text
    assert "](javascript" not in text
    assert "http://" not in text.replace("https://", "")
    assert "&#42;&#42;bold&#42;&#42; www&#46;evil.example \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}" in text
    html = (results / "leaderboard.html").read_text(encoding="utf-8")
    assert "--split '&#60;script&#62;&#124;&#96;'" in text
    assert html.count("<script>") == 1
    assert html.count("<script") == 1
    assert "x`|&lt;/code&gt;&lt;script&gt;alert(1)&lt;/script&gt; # heading" in html
    columns = {line.count(" | ") for line in text.split("## Provenance\n")[1].splitlines() if line.startswith("| ")}
    assert columns == {7}


def test_escaped_text() -> None:
    assert escape("a|b <i> &lt; [x](y)\t_z_") == "a&#124;b &#60;i&#62; &#38;lt; &#91;x&#93;(y) &#95;z&#95;"
    assert code("metabench run maml omniglot-5w1s") == "<code>metabench run maml omniglot-5w1s</code>"


def test_a_row_stands_for_all_of_its_benchmark_and_the_others_are_folded(results: Path) -> None:
    report(results)
    first, folded = page(results).split("<details><summary>1 more rows of the same</summary>")
    assert "| maml | omniglot-5w1s | 98.75 ± 0.08 (± 0.25 over 3 seeds) |" in first
    assert "97.40 ± 0.16" not in first
    assert "| maml | omniglot-5w1s | 97.40 ± 0.16 |" in folded.split("</details>")[0]


def test_the_readme_has_the_most_telling_rows(results: Path) -> None:
    """That with a film first, then by verdict; one a benchmark, six at most."""
    more = [record("protonet", f"omniglot-{name}", mean=0.9) for name in ("5w5s", "20w5s")]
    write(results, *more, control_record("maml"), control_record("untrained", means=(-20.0, -15.0)))
    (results / "figures").mkdir()
    (results / "figures" / file_name(more[1]).replace(".json", ".gif")).write_bytes(GIF)
    readme = embedded("<!-- leaderboard -->\n<!-- /leaderboard -->", assemble(results))
    rows = [line.split(" | ") for line in readme.splitlines() if line.startswith("| ")][2:]
    assert [(row[0].strip("| "), row[1], row[5]) for row in rows] == [
        ("protonet", "omniglot-20w5s", "**below**"),
        ("maml", "omniglot-5w1s", "**reproduced**"),
        ("maml", "cheetah-dir", "**reproduced, protocol unstated**"),
        ("protonet", "omniglot-5w5s", "**below**"),
        ("maml-fo", "mini-imagenet-5w1s", "**below**"),
        ("meta-sgd", "omniglot-20w1s", "**unverified reference**"),
    ]
    assert "All 9 rows, what the verdicts mean" in readme


def test_the_reference_is_the_papers_number_under_the_rows_protocol(tmp_path: Path) -> None:
    """Snell et al. 2017 train miniImageNet's headline 20-way; a row that trained 5-way has its number in their Table 6.

    A number of somebody else's under the row's protocol does not take the place of the paper's own.
    """
    shutil.copy(PUBLISHED, tmp_path / "published.yaml")
    write(
        tmp_path,
        record("protonet", "mini-imagenet-5w5s", mean=0.6, norm="running"),
        record("protonet", "mini-imagenet-5w5s", mean=0.6, train_ways=5),
        record("protonet", "mini-imagenet-5w5s", mean=0.6, train_ways=7),
    )
    assert report(tmp_path) == 0
    rows = [
        line.split(" | ") for line in page(tmp_path).splitlines() if line.startswith("| protonet | mini-imagenet-5w5s")
    ]
    assert sorted((row[3], row[5]) for row in rows[:3]) == [
        ("65.77 ± 0.7 (Snell et al. 2017, Table 6)", "**below**"),
        ("68.2 ± 0.66 (Snell et al. 2017, Table 2)", "**below**"),
        ("68.2 ± 0.66 (Snell et al. 2017, Table 2)", "**not comparable**"),
    ]
