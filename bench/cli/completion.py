"""The verb `completion`: scripts for shells, and the words that may come next, which the scripts ask for.

A script holds no names. It asks at each press of the key, so that verbs, flags and a user's own data sets are those
that there are now; the answer imports no torch (`bench.cli.names`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import tyro

from metabench.bench.cli import data_arguments
from metabench.bench.cli.names import names
from metabench.bench.cli.verbs import VERBS
from metabench.bench.flags import Flags, flags_of
from metabench.bench.speed.arguments import SUITES
from metabench.bench.training.options import Machine, Options

Shell = Literal["bash", "zsh", "fish"]

ASK = "--words"
"""What the scripts put before the words of the line; the last one is the one to complete, and may be empty."""

SCRIPTS: dict[str, str] = {
    "bash": f"""_metabench() {{
    local IFS=$'\\n'
    COMPREPLY=($(metabench completion {ASK} "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null))
}}
complete -o default -F _metabench metabench""",
    "zsh": f"""#compdef metabench
_metabench() {{
    local -a found
    found=(${{(f)"$(metabench completion {ASK} "${{(@)words[2,CURRENT]}}" 2>/dev/null)"}})
    if (( $#found )); then compadd -- $found; else _files; fi
}}
compdef _metabench metabench""",
    "fish": f"""function __metabench_words
    set -l found (metabench completion {ASK} (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
    if test -n "$found"
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c metabench -f -a '(__metabench_words)'""",
}
"""Shell -> what it is to read. Where nothing fits, file names do."""


@dataclass(frozen=True)
class CompletionCommand:
    """Print a script that completes verbs, algorithms, benchmarks, data sets and flags.

    For bash, put `source <(metabench completion bash)` into ~/.bashrc; for zsh the same into ~/.zshrc, after compinit;
    for fish, `metabench completion fish | source` into ~/.config/fish/config.fish.
    """

    shell: tyro.conf.Positional[Shell]
    """Which shell."""


def parse_completion(arguments: Sequence[str]) -> CompletionCommand:
    """The command that the words after `completion` say; SystemExit after --help or for what cannot be read."""
    return tyro.cli(CompletionCommand, args=arguments, prog="metabench completion")


def completion(arguments: list[str]) -> int:
    """metabench completion bash | zsh | fish."""
    if arguments[:1] == [ASK]:
        print("\n".join(candidates(arguments[1:])))
        return 0
    command = parse_completion(arguments)
    names()  # made now, so that the first press of the key finds them
    print(SCRIPTS[command.shell])
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """What the last of these words, which stand after `metabench`, may become; nothing where a file name may."""
    *before, current = words or [""]
    if not before:
        found = ["--help", "--version"] if current.startswith("-") else list(VERBS)
    elif before[0] not in VERBS:
        found = []
    else:
        flags = _flags(before)
        if current.startswith("-"):
            found = ["--help", *flags]
        elif before[-1].startswith("-"):
            found = flags.get(before[-1], [])
        else:
            found = _names(before)
    return [word for word in found if word.startswith(current)]


def _flags(words: Sequence[str]) -> Flags:
    """The flags that fit after these words, the first of which is a verb."""
    verb, *rest = words
    if verb == "run":
        algorithm, benchmark = (*rest, "", "")[:2]
        found = flags_of(Options) | flags_of(Machine) | {"--environment": []}
        for world in names().worlds:
            if benchmark in world.benchmarks or not any(benchmark in w.benchmarks for w in names().worlds):
                found |= world.flags.get(algorithm, {})
        return found
    if verb == "data":
        below = data_arguments.VERBS.get((*rest, "")[0])
        return flags_of(below) if below else {}
    found = {}
    for command in VERBS[verb].commands():
        found |= flags_of(command)
    return found


def _names(words: Sequence[str]) -> list[str]:
    """The names that may stand after these words, none of which is a flag."""
    match words:
        case ["run"] | ["compare"] | ["compare", _]:
            return names().algorithms
        case ["run", algorithm]:
            return [name for world in names().worlds if algorithm in world.algorithms for name in world.benchmarks]
        case ["sweep"]:
            return ["paper"]
        case ["data"]:
            return list(data_arguments.VERBS)
        case ["data", "download" | "import" | "verify" | "preview"]:
            return names().data_sets
        case ["bench"]:
            return list(SUITES)
        case ["completion"]:
            return list(get_args(Shell))
    return []
