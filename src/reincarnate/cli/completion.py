"""`reincarnate completion SHELL`: a script for bash, zsh or fish, with the commands and flags of this installation."""

from collections.abc import Callable, Mapping

from reincarnate.cli.parsing import flags_of
from reincarnate.errors import UserError

SHELLS = ("bash", "zsh", "fish")
USAGE = """usage: reincarnate completion SHELL        SHELL is bash, zsh or fish

bash:  reincarnate completion bash > ~/.local/share/bash-completion/completions/reincarnate
zsh:   reincarnate completion zsh > ~/.reincarnate-completion; then add `source ~/.reincarnate-completion` to ~/.zshrc
fish:  reincarnate completion fish > ~/.config/fish/completions/reincarnate.fish

The script holds what is registered now; write it again after an update.
"""
WORDS = {
    "study": ("run", "report"),
    "lineage": ("show", "verify", "diff", "index"),
    "priors": ("list", "card", "fetch", "play"),
    "completion": SHELLS,
}
"""Commands whose second word is one of these."""


def completion(args: list[str]) -> None:
    """`completion bash|zsh|fish`."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif args[0] not in SHELLS:
        raise UserError(f"no completion for the shell {args[0]!r}; known: {', '.join(SHELLS)}")
    else:
        print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args[0]](words()), end="")


def words() -> dict[str, list[str]]:
    """What can follow `reincarnate`, "" alone or a command: further commands, methods, flags."""
    from reincarnate.cli.commands import COMMANDS, command_of
    from reincarnate.cli.task_flags import FLAGS
    from reincarnate.methods import METHODS

    found = {"": sorted(COMMANDS)}
    for name in COMMANDS:
        call, verbs = command_of(name), WORDS.get(name, ())
        if name == "train":
            found[name] = [*METHODS, *_flags_of_train(call)]
        elif name in WORDS and name != "completion":
            found[name] = [*verbs, *sorted({flag for verb in verbs for flag in flags_of(call, [verb])})]
        else:
            found[name] = [*verbs, *([] if verbs else flags_of(call, []))]
        found[name] += [flag for flag in FLAGS if "--env" in found[name] and not flag.endswith(".")]
    return found


def _flags_of_train(call: Callable[[list[str]], object]) -> list[str]:
    """Flags of every method and every student."""
    from reincarnate.methods import METHODS
    from reincarnate.students import STUDENTS

    asked = [*([method] for method in METHODS), *(["scratch", "--student", name] for name in STUDENTS)]
    return sorted({"--student", *(flag for args in asked for flag in flags_of(call, args))})


def _bash(known: Mapping[str, list[str]]) -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(found)}" ;;' for name, found in known.items() if name)
    return f"""# bash completion of reincarnate
_reincarnate() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words="" ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(known[""])}"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _reincarnate reincarnate
"""


def _zsh(known: Mapping[str, list[str]]) -> str:
    return f"autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{_bash(known)}"


def _fish(known: Mapping[str, list[str]]) -> str:
    lines = [f"complete -c reincarnate -n __fish_use_subcommand -f -a '{' '.join(known[''])}'"]
    for name, found in known.items():
        if name and found:
            when = f"__fish_seen_subcommand_from {name}"
            lines.append(f"complete -c reincarnate -n '{when}' -a '{' '.join(found)}'")
    return "# fish completion of reincarnate\n" + "\n".join(lines) + "\n"
