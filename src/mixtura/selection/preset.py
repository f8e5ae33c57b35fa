"""A team as a mixture in a TOML file: added, or put in the place of its own earlier table."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mixtura.config import toml_document
from mixtura.config.plan import MixtureSpec, parse_member, uniform_layers
from mixtura.core.errors import ConfigError

PROPOSER_SAMPLING = uniform_layers([parse_member("any")], None, None, name="any").sampling
"""How proposers are asked in a mixture that is written as a name."""
TABLE_MARK = "# chosen by mixtura"
"""Begins a line of a table that may be put in the place of: it is ours."""
_TABLE_HEADER = re.compile(r"^\s*\[")
_COMMENT_OR_BLANK = re.compile(r"^\s*(#|$)")
"""A line between two tables: it belongs to the one below."""

ConfigCheck = Callable[[Path], object]
"""Reads a file as a configuration. Raises ConfigError."""


def mixture_table(name: str, members: Sequence[str], aggregator: str, reason: str = "") -> str:
    """A team as a table; *reason*: why, behind the mark."""
    times = {member: members.count(member) for member in members}
    row = [member if count == 1 else f"{member}*{count}" for member, count in times.items()]
    lines = [
        f"[mixtures.{_toml_key(name)}]",
        f"{TABLE_MARK} select{': ' if reason else ''}{reason}",
        f"layers = [{_toml_value(row)}]",
        f"aggregator = {_toml_value(aggregator)}",
        f"sampling = {{ temperature = {PROPOSER_SAMPLING.temperature} }}",
    ]
    return "\n".join(lines) + "\n"


def plan_table(name: str, plan: MixtureSpec, comments: Sequence[str]) -> str:
    """A plan of `mixtura tune` as a table; *comments*: lines that say why, without marks."""
    first, *others = comments
    lines = [f"[mixtures.{_toml_key(name)}]", f"{TABLE_MARK} tune: {first}"]
    lines += [f"# {one}" for one in others]
    spec = plan.pattern.spec
    if spec.name != "mixture":
        lines.append(f"pattern = {_toml_value(spec.name)}")
    rows = [
        [seat.model if seat.samples == 1 else f"{seat.model}*{seat.samples}" for seat in layer]
        for layer in plan.layers
    ]
    lines.append(f"layers = {_toml_value(rows)}")
    if spec.final_model is not None:
        lines.append(f"{spec.final_model.key} = {_toml_value(plan.aggregator)}")
    settings, usual = msgspec.structs.asdict(plan.pattern.settings), spec.settings()
    lines += [
        f"{key} = {_toml_value(value)}"
        for key, value in settings.items()
        if value != getattr(usual, key)
    ]
    lines.append(f"sampling = {{ temperature = {PROPOSER_SAMPLING.temperature} }}")
    return "\n".join(lines) + "\n"


def team_table(name: str, table: Mapping[str, Any], origin: str) -> str:
    """The table of a mixture as a file has it; *origin*: what wrote it, behind the mark."""
    lines = [f"[mixtures.{_toml_key(name)}]", f"{TABLE_MARK} {origin}"]
    lines += [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def write_preset(
    file: Path, name: str, text: str, models: Mapping[str, Mapping[str, Any]], check: ConfigCheck
) -> None:
    """
    Put *text*, the table of the mixture *name*, into *file*, and the tables of those *models*
    that it lacks. What else is in it stays as it is.

    Raises ConfigError where that would overwrite something else, and where *check* finds that
    the file would be no configuration.
    """
    with _staged_file(file, name, text, models, check) as (part, whole):
        part.replace(whole)


def check_writable(
    file: Path,
    name: str,
    members: Sequence[str],
    models: Mapping[str, Mapping[str, Any]],
    check: ConfigCheck,
) -> None:
    """Raises ConfigError where no team of *members* could be written into *file* as *name*."""
    if not file.resolve().parent.is_dir():
        raise ConfigError(f"{file}: there is no folder {file.resolve().parent}")
    # All steps but the last: what would fail at the end is found before any model is paid for.
    with _staged_file(file, name, mixture_table(name, members, members[0]), models, check):
        pass


@contextmanager
def _staged_file(
    file: Path, name: str, text: str, models: Mapping[str, Mapping[str, Any]], check: ConfigCheck
) -> Generator[tuple[Path, Path]]:
    """The file as it would be, beside the one that it would be put in the place of."""
    # A link stays a link: what it points to is replaced.
    file = file.resolve()
    after = merge_table(_read_text(file), str(file), name, text, models)
    # In the same folder: only there is the replacement one step, and only there do the relative
    # paths of a configuration mean what they mean in the file.
    part = file.with_name(f".{file.name}.part")
    try:
        part.touch()
        if file.exists():
            # A configuration may have keys in it: the new file is as private as the old one.
            shutil.copymode(file, part)
        part.write_text(after, encoding="utf-8", newline=_line_ending(file))
        check(part)
        yield part, file
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    except ConfigError as error:
        # The person knows their own file, not the part that was checked.
        raise ConfigError(str(error).replace(str(part), str(file))) from None
    finally:
        part.unlink(missing_ok=True)


def _read_text(file: Path) -> str:
    try:
        # Editors of Windows begin a file with a byte order mark, which TOML does not know.
        return file.read_text(encoding="utf-8-sig") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None


def _line_ending(file: Path) -> str:
    """How the file ends its lines."""
    return "\r\n" if file.exists() and b"\r\n" in file.read_bytes() else "\n"


def merge_table(
    before: str, source: str, name: str, text: str, models: Mapping[str, Mapping[str, Any]]
) -> str:
    """The file's text with the table in it.

    Raises ConfigError where *before* is no such TOML, where *name* is someone else's table or a
    model, and where other tables would change.
    """
    document = toml_document.TomlDocument(before, source)
    for kind in ("mixtures", "models"):
        if not isinstance(document.data.get(kind, {}), Mapping):
            raise document.error_at(
                [kind], f"{kind} must be tables with names, such as [{kind}.NAME]"
            )
    there = document.data.get("mixtures", {})
    kept = before
    if name in there:
        kept = _remove_table(document, before, name)
    elif name in document.data.get("models", {}):
        raise document.error_at(
            ["models", name], f"'{name}' is a model here: choose another --name"
        )
    lacking = {n: t for n, t in models.items() if n not in document.data.get("models", {})}
    pieces = [kept.rstrip("\n"), *(_model_table(n, t) for n, t in lacking.items()), text]
    after = "\n\n".join(piece.rstrip("\n") for piece in pieces if piece.strip()) + "\n"
    # Editing text by lines can go wrong in more ways than TOML has: the result is read again.
    _check_others_unchanged(
        document.data, toml_document.TomlDocument(after, source).data, name, source
    )
    return after


def _remove_table(document: toml_document.TomlDocument, before: str, name: str) -> str:
    """The text without the table that an earlier selection or tuning wrote."""
    lines = re.findall(r"[^\n]*\n|[^\n]+$", before)  # TOML has fewer line ends than splitlines()
    start = document.line_number(["mixtures", name]) - 1
    end = next(
        (i for i in range(start + 1, len(lines)) if _TABLE_HEADER.match(lines[i])), len(lines)
    )
    # Comments above a header belong to the table below it, which stays.
    while _COMMENT_OR_BLANK.match(lines[end - 1]):
        end -= 1
    if not any(line.startswith(TABLE_MARK) for line in lines[start:end]):
        problem = (
            f"'{name}' exists already and was not written by select or tune: choose another --name"
        )
        raise document.error_at(["mixtures", name], problem)
    return "".join(lines[:start]).rstrip("\n") + "\n\n" + "".join(lines[end:]).lstrip("\n")


def _check_others_unchanged(
    before: Mapping[str, Any], after: Mapping[str, Any], name: str, source: str
) -> None:
    """Whatever was said of anything else is still said."""

    def other_tables(data: Mapping[str, Any]) -> dict[str, Any]:
        mixtures = {n: t for n, t in data.get("mixtures", {}).items() if n != name}
        known = {n: t for n, t in data.get("models", {}).items() if n in before.get("models", {})}
        return {**data, "mixtures": mixtures, "models": known}

    empty: dict[str, Any] = {"mixtures": {}, "models": {}}
    if other_tables({**empty, **before}) != other_tables({**empty, **after}):
        raise ConfigError(
            f"{source}: the table of '{name}' cannot be replaced without changing others:"
            " remove it yourself, or choose another --name"
        )


# ---- TOML


def _model_table(name: str, settings: Mapping[str, Any]) -> str:
    lines = [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in settings.items()]
    return "\n".join([f"[models.{_toml_key(name)}]", *lines])


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_toml_key(str(k))} = {_toml_value(v)}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, str):
        # A string of JSON is one of TOML, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else str(value)
