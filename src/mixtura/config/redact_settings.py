"""What `redact` says of a model: which private items it is not shown, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from mixtura.catalog import providers
from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.config.schema import ModelTable, RedactTable
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.model import Model, unwrap_model
from mixtura.core.roles import Composite, iterate_models

if TYPE_CHECKING:
    from mixtura.privacy.item_finder import PrivateItems, Recognizer

# What finds items is imported where a model has the setting: few have.

ENTRY_POINT_GROUP = "mixtura.recognizers"
_LOOPBACK = ("localhost", "::1")


def find_redact_table(table: ModelTable, common: bool | RedactTable | None) -> RedactTable | None:
    """
    What a model is not shown; None: all is. What the file says for all members, *common*, holds for
    those that are not on this machine.
    """
    said = table.redact
    if said is None:
        said = None if is_on_this_machine(table) else common
    elif said is True and isinstance(common, RedactTable):
        said = common
    return RedactTable() if said is True else said or None


def is_on_this_machine(table: ModelTable) -> bool:
    """Whether what a model is asked stays here, as its settings tell. A program may send it on."""
    if table.base_url is not None:
        host = urlsplit(table.base_url).hostname or ""
        return host in _LOOPBACK or host.startswith("127.")
    known = providers.providers().get(table.provider or "")
    return known is not None and known.local and not known.address


def with_redaction(model: Model, table: RedactTable | None) -> Model:
    """*model*, shown no private items where a table says so. Raises ConfigError."""
    if table is None:
        return model
    from mixtura.models.wrappers.private_items import Pseudonymized

    try:
        return Pseudonymized(model, build_private_items(table), pictures=table.pictures)
    except ConfigError as error:
        raise type(error)(f"redact: {error}", key="redact") from None


def check_stand_in(elsewhere: Model | None) -> None:
    """Raise ConfigError where a model that stands in for a redacted one would be shown all."""
    if elsewhere is None:
        return
    from mixtura.models.command import CommandModel
    from mixtura.models.hosted import HostedModel
    from mixtura.models.wrappers.private_items import Pseudonymized

    models = list(iterate_models(elsewhere))
    leaves = not isinstance(unwrap_model(elsewhere), Composite)
    sends = any(isinstance(model, HostedModel | CommandModel) for model in models)
    if sends and leaves and not any(isinstance(model, Pseudonymized) for model in models):
        said = (
            f"hedge: {elsewhere.name} would be sent what this model is not shown: set `redact`"
            " there, too"
        )
        raise ConfigError(said, key="hedge")


def build_private_items(table: RedactTable) -> PrivateItems:
    """What finds the items of a table. Raises ConfigError for a file or a recognizer."""
    from mixtura.privacy.item_finder import PrivateItems

    recognizers = [_load_recognizer(name) for name in table.recognizers]
    if table.regions:
        recognizers.append(_phone_recognizer(table.regions))
    return PrivateItems(
        kinds=table.kinds,
        patterns=_read_patterns(table.patterns) if table.patterns else {},
        words=table.words,
        recognizers=recognizers,
    )


def _read_patterns(path: str) -> Mapping[str, list[str]]:
    """The patterns of a file: ``kind = 'regular expression'``, or a list of them."""
    from mixtura.privacy.item_finder import compile_pattern

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(f"the pattern file {path} cannot be read: {reason}") from None
    document = TomlDocument(text, path)
    found: dict[str, list[str]] = {}
    for kind, value in document.data.items():
        rows = cast("list[Any]", value if isinstance(value, list) else [value])
        for number, row in enumerate(rows):
            if not isinstance(row, str):
                said = f"{kind}: a pattern is a text, as in {kind} = 'CUST-[0-9]{{6}}'"
                raise document.error_at([kind, number], said)
            try:
                compile_pattern(row)
            except ValueError as error:
                raise document.error_at([kind, number], f"{kind}: {error}") from None
        found[kind] = rows
    return found


def _load_recognizer(name: str) -> Recognizer:
    found = load_entry_point(ENTRY_POINT_GROUP, name, object)
    if found is None:
        known = ", ".join(sorted(find_entry_points(ENTRY_POINT_GROUP))) or "none"
        said = f"no installed package offers the recognizer '{name[:40]}' (there: {known})"
        raise ConfigError(said)
    if not callable(found):
        raise ConfigError(f"the recognizer '{name}' is no function of a text")
    return cast("Callable[[str], Any]", found)


def _phone_recognizer(regions: tuple[str, ...]) -> Recognizer:
    from mixtura.privacy.phone_recognizer import create_phone_recognizer

    try:
        return create_phone_recognizer(regions)
    except ModuleNotFoundError:
        said = missing_package_text("`regions`", "phonenumbers", "privacy")
        raise ConfigError(said) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
