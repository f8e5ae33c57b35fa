"""The command mixtura completion: Tab completes commands, options, models and runs in a shell."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NamedTuple

import click
from click.shell_completion import get_completion_class

from mixtura import cli
from mixtura.catalog.user_files import write_whole
from mixtura.cli.help_layout import MixturaCommand
from mixtura.core.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")
MARK = "# added by: mixtura completion --install"
BASH_LOADERS = (
    "/usr/share/bash-completion/bash_completion",
    "/usr/local/share/bash-completion/bash_completion",
    "/opt/homebrew/share/bash-completion/bash_completion",
)
"""What loads completions by itself when they are first needed, where it is installed."""


class Installation(NamedTuple):
    """Where the script goes, and the line of a shell's own file that loads it, if one must."""

    script: Path
    startup_file: Path | None
    line: str


@click.command(
    name="completion",
    cls=MixturaCommand,
    examples=("mixtura completion --install", "mixtura completion zsh > _mixtura"),
)
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.option(
    "--install", is_flag=True, help="Set it up for your user; takes effect in a new shell."
)
@click.option("--uninstall", is_flag=True, help="Undo what --install did.")
def command(shell: str | None, install: bool, uninstall: bool) -> None:
    """Complete commands, options, models, mixtures and run ids with Tab.

    Without an option, print the script for SHELL: bash, zsh or fish. By default it is the
    shell that you use ($SHELL).
    """
    if install and uninstall:
        raise click.UsageError("--install and --uninstall exclude each other.")
    name = shell or _current_shell()
    script = _completion_script(name)
    if not (install or uninstall):
        click.echo(script)
        return
    where = find_installation(name, dict(os.environ))
    try:
        if uninstall:
            _uninstall(where)
        else:
            _install(where, script)
    except OSError as error:
        place = error.filename or where.script
        raise ConfigError(f"{place} cannot be changed: {error.strerror}") from None
    if uninstall:
        click.echo(f"Completion for {name} is removed.")
        return
    click.echo(f"Completion for {name} is installed: {where.script}")
    if where.startup_file:
        click.echo(f"{where.startup_file} loads it.")
    click.echo("Open a new shell, then press Tab after `mixtura `.")


def _current_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        known = ", ".join(SHELLS)
        raise ConfigError(
            f"which shell? $SHELL is {name or 'not set'}, completion exists for {known}:"
            " mixtura completion bash"
        )
    return name


def _completion_script(shell: str) -> str:
    made = get_completion_class(shell)
    assert made is not None
    own = made(cli.group, {}, "mixtura", "_MIXTURA_COMPLETE")
    return own.source_template % own.source_vars()


def find_installation(shell: str, environ: dict[str, str]) -> Installation:
    """Where the script of *shell* belongs for the user of this environment."""
    home = Path(environ.get("HOME") or Path.home())
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":
        return Installation(config / "fish/completions/mixtura.fish", None, "")
    if shell == "zsh":
        script = data / "mixtura/completion.zsh"
        # Completion itself may not be switched on by then.
        switch_on = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }"
        line = f"{switch_on}; {_load(script)}"
        return Installation(script, Path(environ.get("ZDOTDIR") or home) / ".zshrc", line)
    script = data / "bash-completion/completions/mixtura"
    loaded = any(Path(one).is_file() for one in BASH_LOADERS)
    return Installation(script, None if loaded else home / ".bashrc", _load(script))


def _load(script: Path) -> str:
    name = shlex.quote(str(script))
    return f"[ -r {name} ] && source {name}"


def _install(where: Installation, script: str) -> None:
    """Write the script, and the line that loads it where there is none yet. Raises OSError."""
    where.script.parent.mkdir(parents=True, exist_ok=True)
    write_whole(where.script, f"{script}\n".encode())
    if where.startup_file:
        kept = _lines_without_ours(where.startup_file)
        write_whole(where.startup_file, _encode([*kept, f"{where.line} {MARK}\n"]))


def _uninstall(where: Installation) -> None:
    where.script.unlink(missing_ok=True)
    if where.startup_file and where.startup_file.exists():
        write_whole(where.startup_file, _encode(_lines_without_ours(where.startup_file)))


def _encode(lines: list[str]) -> bytes:
    # Whatever the file's encoding is: its other lines stay as they were.
    return "".join(lines).encode("utf-8", "surrogateescape")


def _lines_without_ours(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    lines = [line for line in text.splitlines(keepends=True) if MARK not in line]
    return [*lines[:-1], lines[-1].rstrip("\n") + "\n"] if lines else []
