"""Signals: noted once, raised the second time, and told by the exit status."""

import os
import signal
import threading

import pytest

from metabench.bench.cli import main as command_line
from metabench.bench.stopping import Interrupted, interrupting, noting_signals, status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_raised(number, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with noting_signals("wait a moment\n") as came:
        assert came() == 0
        signal.raise_signal(number)
        assert came() == number
        assert capfd.readouterr().err == "wait a moment\n"
        with pytest.raises(Interrupted) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert (came(), stopped.value.number) == (number, signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_without_a_notice_every_signal_is_only_noted(capfd):
    """A launcher passes one on as two."""
    with noting_signals("") as came:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert came() == signal.SIGINT
    assert capfd.readouterr().err == ""


def test_another_thread_goes_without(capfd):
    found = []

    def work():
        with interrupting(), noting_signals("x") as came:
            found.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_a_signal_ends_says_so(monkeypatch, capsys, number, code):
    monkeypatch.setattr(command_line, "_dispatch", lambda verb, arguments: os.kill(os.getpid(), number))
    assert command_line.main(["report"]) == code
    assert capsys.readouterr().err == "\nstopped\n"
    assert status(KeyboardInterrupt()) == 130


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (False, "stopped before anything was saved; the same command starts the run"),
        (True, "stopped; the same command goes on from the last checkpoint"),
    ],
)
def test_a_run_that_is_stopped_at_once_says_what_is_there(monkeypatch, capsys, tmp_path, saved, said):
    def interrupt(*_):
        if saved:
            (tmp_path / "checkpoint.pt").touch()
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("metabench.bench.cli.run.execute", interrupt)
    assert command_line.main(["run", "maml", "glyphs-5w1s", "--out", str(tmp_path)]) == 143
    assert capsys.readouterr().err == f"\n{said}\n"
