"""What a shell completes: commands, their options, and the words that an option takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from speechft.cli.app import parts_of
from speechft.cli.command_table import COMMANDS
from speechft.cli.options import parameters_of
from speechft.core.errors import SettingsError

SHELLS: Final = ("bash", "zsh")
_OF_ZSH: Final = "autoload -U +X bashcompinit && bashcompinit\n"
_SCRIPT: Final = """_speechft() {{
    local words="" current=${{COMP_WORDS[COMP_CWORD]}}
    local command="${{COMP_WORDS[1]}}"
    [[ $command == data ]] && command="data ${{COMP_WORDS[2]}}"
    case "$command ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
    esac
    if [[ -z $words ]]; then case "$command" in
{options}
    esac; fi
    [[ $COMP_CWORD == 1 ]] && words="{commands}"
    [[ $COMP_CWORD == 2 && ${{COMP_WORDS[1]}} == data ]] && words="{of_data}"
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _speechft speechft
"""


def script(shell: str) -> str:
    """Give what makes a shell complete `speechft`; where no word fits it completes files.

    Raises:
        SettingsError: for another shell there is none.
    """
    if shell not in SHELLS:
        raise SettingsError(
            "there is no completion for this shell", expected="bash or zsh", found=shell
        )
    options, values = [], []
    for command in COMMANDS:
        parts = parts_of(command)
        named = [one for one in parameters_of(parts.settings) if not one.positional]
        options.append(_case(command.name, [*(o.name for o in named), *parts.at_once, "--help"]))
        values += [
            _case(f"{command.name} {one.name}", one.value.split("|"))
            for one in named
            if "|" in one.value
        ]
    names = [command.name for command in COMMANDS]
    return (_OF_ZSH if shell == "zsh" else "") + _SCRIPT.format(
        options="\n".join(options),
        values="\n".join(values),
        commands=" ".join(dict.fromkeys(name.split()[0] for name in names)),
        of_data=" ".join(name.split()[1] for name in names if name.startswith("data ")),
    )


def _case(pattern: str, words: Sequence[str]) -> str:
    return f'        "{pattern}") words="{" ".join(words)}" ;;'
