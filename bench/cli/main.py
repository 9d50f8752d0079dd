"""The command line, `metabench VERB ...`: the verbs are in `bench.cli.verbs`."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence

from metabench.bench import stopping
from metabench.bench.cli.names import HEAVY, remember
from metabench.bench.cli.verbs import VERBS, Verb, usage


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 1 a run diverged, 2 wrong input, 128 + n signal n."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"metabench {version()}")
        return 0
    name, *rest = arguments
    if name not in VERBS:
        from metabench.bench.terminal import complain
        from metabench.bench.text import unknown

        return complain(f"{unknown('verb', name, VERBS)}; see metabench --help")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "±" on a terminal without it is a "?", not the end of a run
    try:
        with stopping.interrupting():
            status = _dispatch(VERBS[name], rest)
            if argv is None and HEAVY in sys.modules:
                remember()
            return status
    except KeyboardInterrupt as stop:
        print("\nstopped", file=sys.stderr)
        return stopping.status(stop)


def _dispatch(verb: Verb, arguments: list[str]) -> int:
    try:
        if not {"-h", "--help"}.isdisjoint(arguments):
            verb.parse(arguments)  # prints help and leaves, before anything imports torch
        return verb.act(arguments)
    except SystemExit as leaving:  # tyro's: 0 after --help, 2 after a flag it cannot read
        return leaving.code if isinstance(leaving.code, int) else 2
    except BrokenPipeError:  # `metabench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = _advice(error)
        if message is None:
            raise
        from metabench.bench.terminal import complain

        return complain(message)


def _advice(error: Exception) -> str | None:
    """What a user can mend, in words; None for an error that is the program's own."""
    import torch

    from metabench.algorithms import CannotCompile
    from metabench.algorithms.references import CannotLoad
    from metabench.bench.recipes.recipe import RecipeError
    from metabench.bench.training.checkpoint import RunFolderError
    from metabench.envs.own import CannotUse
    from metabench.vision.data.source import DataError

    if isinstance(error, torch.OutOfMemoryError):
        return f"{str(error).split('. ')[0]}; carry fewer tasks at once with --chunk, e.g. --chunk 1"
    mendable = (RecipeError, DataError, RunFolderError, CannotCompile, CannotLoad, CannotUse)
    return str(error) if isinstance(error, mendable) else None


def version() -> str:
    """The version of the installed package, or "unknown" where only its sources are there."""
    try:
        return importlib.metadata.version("metabench")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
