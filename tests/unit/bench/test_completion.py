"""The way in: help that waits for no torch, and the words that a shell is offered."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metabench.bench.cli import data_arguments, names
from metabench.bench.cli.completion import SCRIPTS, candidates
from metabench.bench.cli.names import names as all_names
from metabench.bench.cli.names import names_at_hand, remember
from metabench.bench.cli.run import parse_run
from metabench.bench.cli.verbs import VERBS, usage
from metabench.bench.flags import dataclasses_in, flags_of
from metabench.bench.training.options import Machine, Options


def test_no_help_waits_for_torch(tmp_path: Path) -> None:
    """In a process of its own, without any names kept: every verb, and what stands below `data` and `bench`."""
    lines = [[name] for name in VERBS] + [["data", below] for below in data_arguments.VERBS] + [["bench", "envs"]]
    code = (
        "import sys\n"
        "from metabench.bench.cli.main import main\n"
        f"assert [main([*words, '--help']) for words in {lines}] == [0] * {len(lines)}\n"
        "assert main(['--version']) == main(['--help']) == main([]) == 0\n"
        "assert not {'torch', 'mujoco', 'scipy', 'matplotlib'} & set(sys.modules), sorted(sys.modules)\n"
    )
    environment = {"METABENCH_CACHE": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "`metabench list` shows the algorithms and benchmarks that there are." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_usage_is_the_table() -> None:
    lines = usage().splitlines()
    for verb in VERBS.values():
        assert any(
            re.fullmatch(rf"  metabench {re.escape(verb.name)} .*{re.escape(verb.help)}", line) for line in lines
        )
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("verb", [name for name in VERBS if name not in ("run", "data", "bench", "completion")])
def test_flags_are_those_that_the_help_shows(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = VERBS[verb].commands()
    with pytest.raises(SystemExit):
        VERBS[verb].parse(["--help"])
    assert set(flags_of(command)) | {"--help"} == _flags_in(capsys.readouterr().out)


def test_flags_of_a_recipe_are_those_that_its_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_run("metaoptnet", "glyphs-5w1s", ["--help"])
    shown = _flags_in(capsys.readouterr().out)
    [world] = [world for world in all_names().worlds if world.title == "few-shot images"]
    assert {*flags_of(Options), *flags_of(Machine), *world.flags["metaoptnet"], "--help"} == shown


def _flags_in(help: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.sub(r"(?m)^ {15,}.*$|^│ {15,}.*$", "", help)))


def test_dataclasses_are_found_in_what_a_verb_reads() -> None:
    assert dataclasses_in(tuple[list[str], Options, list[str]]) == [Options]
    assert dataclasses_in(Options | Machine) == [Options, Machine]
    assert dataclasses_in(int) == dataclasses_in(None) == []
    assert {*VERBS["data"].commands()} == {*data_arguments.VERBS.values()}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ch"], ["check"]),
        (["--v"], ["--version"]),
        (["run", "maml-"], ["maml-fo", "maml-noconv", "maml-promp"]),
        (["run", "maml-promp", "humanoid"], ["humanoid-dir"]),
        (["run", "maml-noconv", "cheetah"], []),
        (["run", "metaoptnet", "glyphs-5w1s", "--he"], ["--help", "--head"]),
        (["run", "maml", "glyphs-5w1s", "--hidden"], []),
        (["run", "maml", "navigation", "--hidden"], ["--hidden"]),
        (["run", "maml", "glyphs-5w1s", "--device", "c"], ["cpu", "cuda"]),
        (["data", "v"], ["verify"]),
        (["data", "verify", "gl"], ["glyphs"]),
        (["data", "import", "mine", "--uns"], []),
        (["data", "import", "mine", "--unreadable", ""], ["stop", "skip"]),
        (["bench", ""], ["vision", "envs"]),
        (["bench", "envs", "--th"], ["--threads"]),
        (["sweep", "p"], ["paper"]),
        (["completion", "z"], ["zsh"]),
        (["nonsense", ""], []),
    ],
    ids=" ".join,
)
def test_what_may_come_next(words: list[str], offered: list[str]) -> None:
    assert candidates(words) == offered


def test_nothing_typed_yet_offers_the_verbs() -> None:
    assert candidates([]) == candidates([""]) == list(VERBS)


def test_names_are_kept_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "data"))
    found = all_names()
    assert not (tmp_path / "cache").exists(), "a program's own names are not kept"
    remember(found)
    [kept] = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(names, "HEAVY", "not imported")
    monkeypatch.setattr(names, "_made", lambda: pytest.fail("made anew"))
    assert names_at_hand() == all_names() == found
    remember()
    (tmp_path / "data" / "imported" / "birds").mkdir(parents=True)
    assert names_at_hand() is None
    remember(found)
    [other] = (tmp_path / "cache").iterdir()
    assert other.name != kept.name


def test_bash_completes_a_line(tmp_path: Path) -> None:
    """The script in a shell, with a `metabench` that answers with its own words."""
    stub = tmp_path / "metabench"
    stub.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    stub.chmod(0o755)
    line = 'COMP_WORDS=(metabench run maml ""); COMP_CWORD=3; _metabench; echo "${COMPREPLY[0]}"'
    done: Any = subprocess.run(
        ["bash", "-c", f"{SCRIPTS['bash']}\n{line}"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"completion|--words|run|maml||\n", b"")
