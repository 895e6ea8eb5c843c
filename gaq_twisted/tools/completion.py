"""Scripts with which shells complete the commands and options of `gaq-ws`."""

from collections.abc import Callable, Iterator, Mapping

from gaq_twisted.commands.table import COMMANDS, DEFAULT, PROGRAM
from gaq_twisted.tools.command_options import Argument, arguments

_FILE = "FILE"
_ZSH_SPECIAL = str.maketrans({"[": r"\[", "]": r"\]", ":": r"\:", "'": r"'\''"})
_FISH_SPECIAL = str.maketrans({"\\": r"\\", "'": r"\'"})


def script(shell: str) -> str:
    """Returns the script for a shell: `bash`, `zsh` or `fish`."""
    return "\n".join(_SCRIPTS[shell]()) + "\n"


def _bash() -> Iterator[str]:
    # It also runs in the bash 3.2 of macOS. Without words it completes the names of files.
    yield f"# Completions of {PROGRAM} for bash."
    yield "_gaq_ws() {"
    yield '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=""'
    yield "    local command=${COMP_WORDS[1]}"
    yield f"    [[ $COMP_CWORD == 1 || $command == -* ]] && command={DEFAULT}"
    yield '    case "$command $before" in'
    for command in COMMANDS:
        for argument in filter(lambda one: one.names and one.value, arguments(command)):
            pattern = "|".join(f'"{command.name} {name}"' for name in argument.names)
            words = " ".join(argument.choices)
            yield f'        {pattern}) COMPREPLY=($(compgen -W "{words}" -- "$word")); return ;;'
    yield "    esac"
    yield '    case "$command" in'
    for command in COMMANDS:
        names = [word for one in arguments(command) for word in one.names or one.choices]
        yield f'        {command.name}) words="{" ".join(names)}" ;;'
    yield "    esac"
    top = " ".join([*(command.name for command in COMMANDS), "help", "--version"])
    yield f'    [[ $COMP_CWORD == 1 ]] && words+=" {top}"'
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield f"complete -o default -F _gaq_ws {PROGRAM}"


def _zsh() -> Iterator[str]:
    yield f"#compdef {PROGRAM}"
    yield "_gaq_ws() {"
    yield "    local -a commands=("
    for command in COMMANDS:
        yield f"        '{command.name}:{command.summary.translate(_ZSH_SPECIAL)}'"
    yield "    )"
    yield "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield f"    local command={DEFAULT}"
    yield "    if [[ $words[2] != -* ]]; then"
    yield "        command=$words[2]"
    yield "        shift words"
    yield "        (( CURRENT-- ))"
    yield "    fi"
    yield "    case $command in"
    for command in COMMANDS:
        specs = " ".join(_zsh_spec(argument) for argument in arguments(command))
        yield f"        {command.name}) _arguments {specs} ;;"
    yield "    esac"
    yield "}"
    yield f"compdef _gaq_ws {PROGRAM}"


def _zsh_spec(argument: Argument) -> str:
    values = ""
    if argument.value:
        action = "_files" if argument.value == _FILE else f"({' '.join(argument.choices)})"
        values = f":{argument.value}:{action}"
    if not argument.names:
        return f"'1{values}'"
    text = f"[{argument.help.translate(_ZSH_SPECIAL)}]{values}"
    if len(argument.names) == 1:
        return f"'{argument.names[0]}{text}'"
    return f"'({' '.join(argument.names)})'{{{','.join(argument.names)}}}'{text}'"


def _fish() -> Iterator[str]:
    yield f"# Completions of {PROGRAM} for fish."
    yield f"complete -c {PROGRAM} -f"
    for command in COMMANDS:
        yield (
            f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name}"
            f" -d '{command.summary.translate(_FISH_SPECIAL)}'"
        )
    for command in COMMANDS:
        for argument in arguments(command):
            condition = f"-n '__fish_seen_subcommand_from {command.name}'"
            if command.name == DEFAULT:
                condition = f"-n '__fish_use_subcommand; or __fish_seen_subcommand_from {DEFAULT}'"
            yield f"complete -c {PROGRAM} {condition} {_fish_spec(argument)}"


def _fish_spec(argument: Argument) -> str:
    values = ["-a", f"'{' '.join(argument.choices)}'"] if argument.choices else []
    if not argument.names:
        return " ".join(values)
    words = [
        f"-l {name.removeprefix('--')}" if name.startswith("--") else f"-s {name[1:]}"
        for name in argument.names
    ]
    if argument.value:
        words.append("-r -F" if argument.value == _FILE else "-x")
    return " ".join([*words, *values, f"-d '{argument.help.translate(_FISH_SPECIAL)}'"])


_SCRIPTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
