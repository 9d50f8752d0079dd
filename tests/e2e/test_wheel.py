"""The package as it is installed, away from its checkout: what it needs comes with it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from metabench.bench.records.schema import file_name
from tests.support.synthetic import record, write

build_meta = pytest.importorskip("setuptools.build_meta")
ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("algorithms", "vision", "envs", "bench", "metabench", "results/baselines"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "results/published.yaml"):
        shutil.copy(ROOT / name, tree / name)
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=tree, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def metabench(installed: Path, here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run its command in a folder that has one named bench, as anybody's may."""
    (here / "bench").mkdir(exist_ok=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from metabench.bench.cli.main import main; sys.exit(main())"
    )
    command = [sys.executable, "-P", "-c", program, str(installed), *arguments]
    plain = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"METABENCH_CACHE": str(here / "cache")}
    return subprocess.run(command, cwd=here, env=plain, capture_output=True, text=True)


def test_a_wheel_holds_the_published_numbers_and_the_baselines_and_no_record(installed: Path) -> None:
    folder = installed / "metabench/bench/shipped"
    shipped = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    assert shipped == ["baselines", "baselines/check.json", "published.yaml"]
    for name in ("published.yaml", "baselines/check.json"):
        assert (folder / name).read_bytes() == (ROOT / "results" / name).read_bytes()


def test_report_away_from_a_checkout_holds_own_records_against_the_published(installed: Path, tmp_path: Path) -> None:
    found = metabench(installed, tmp_path, "report")
    assert (found.returncode, found.stdout) == (2, "")
    assert "metabench: results: there is no such folder; file a record there with" in found.stderr
    write(tmp_path / "results", record(mean=0.97))
    found = metabench(installed, tmp_path, "report")
    assert (found.returncode, found.stderr) == (0, "")
    page = (tmp_path / "results" / "leaderboard.md").read_text()
    assert f"[0](records/{file_name(record())})" in page
    assert "98.7 ± 0.4 (Finn et al. 2017, Table 1)" in page
    assert metabench(installed, tmp_path, "report", "--check").returncode == 0


def test_check_and_publish_away_from_a_checkout(installed: Path, tmp_path: Path) -> None:
    found = metabench(installed, tmp_path, "check", "--only", "trace maml-noconv glyphs-5w1s")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 rows: 1 good" in found.stdout
    tiny = "--width 4 --queries 2 --train-queries 2 --val-tasks 4 --test-tasks 6 --iterations 2 --val-every 2"
    run = ["run", "protonet", "glyphs-5w1s", *tiny.split(), "--threads", "1", "--publish"]
    found = metabench(installed, tmp_path, *run)
    assert found.returncode == 0, found.stderr
    [path] = (tmp_path / "results" / "records").iterdir()
    facts = json.loads(path.read_text())["provenance"]
    assert facts["command"] == "metabench " + " ".join(run)
    assert (facts["commit"], facts["dirty"]) == ("unknown", None)
