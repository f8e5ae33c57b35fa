"""A model's file or shards on disk, and the faults that their headers show before a load."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mixtura.core.errors import ConfigError
from mixtura.llama.gguf import (
    PULL_ADVICE,
    GgufHeader,
    MetadataList,
    damaged_file_error,
    read_header,
)

_SHARD_PATTERN = re.compile(
    r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.gguf)", re.IGNORECASE
)


def shard_paths(path: Path) -> list[Path]:
    """
    Every shard of the model that *path* belongs to, in order; *path* where the model is one file.

    Raises ConfigError when the name says that there are more and one is missing.
    """
    found = _SHARD_PATTERN.fullmatch(path.name)
    if not found:
        return [path]
    count = int(found["count"])
    if not 1 <= int(found["number"]) <= count:
        raise ConfigError(f"{path} is not a part of a model: its name counts beyond its end")
    parts = [
        path.with_name(f"{found['stem']}-{number:05}-of-{found['count']}{found['ending']}")
        for number in range(1, count + 1)
    ]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        named = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise ConfigError(
            f"{path} is one of {count} parts of a model, and of the others {named} is not beside it"
            if len(missing) == 1
            else f"{path} is one of {count} parts of a model; {len(missing)} are missing: {named}"
        )
    return parts


def check_model_file(path: Path) -> Path:
    """
    Check the headers of *path* and of its other shards; the file to load.

    Raises ConfigError for every fault that a header shows.
    """
    parts = shard_paths(path)
    headers = [read_header(part) for part in parts]
    _check_parts(headers)
    _check_model(headers[0])
    for header in headers:
        _check_tensors(header)
    return parts[0]


@contextmanager
def lowercase_shard_path(path: Path) -> Generator[Path]:
    """
    *path* by a name by which llama.cpp finds its other shards: it looks for ``.gguf`` only.

    Where shards are named otherwise (``.GGUF``), a temporary folder has links to them.
    """
    parts = shard_paths(path)
    if len(parts) == 1 or path.suffix == ".gguf":
        yield path
        return
    with TemporaryDirectory(prefix="mixtura-") as folder:
        for part in parts:
            (Path(folder) / part.with_suffix(".gguf").name).symlink_to(part.absolute())
        yield Path(folder) / path.with_suffix(".gguf").name


def _check_parts(headers: Sequence[GgufHeader]) -> None:
    """Check that each file is the shard that its name says. Raises ConfigError."""
    for number, header in enumerate(headers):
        count = header.metadata.get("split.count")
        if not isinstance(count, int) or count < 2:
            continue
        place = header.metadata.get("split.no")
        named = f"NAME-{number + 1:05}-of-{count:05}.gguf"
        if isinstance(place, int):
            named = f"NAME-{place + 1:05}-of-{count:05}.gguf"
        if count != len(headers) or place not in (number, None):
            raise ConfigError(
                f"{header.path} is one of the {count} parts of a model, by its name it is another:"
                f" the parts keep their names ({named}) and stand side by side;"
                " `llama-gguf-split --merge` makes one file of them"
            )


def _check_model(header: GgufHeader) -> None:
    kind = header.metadata.get("general.type", "model")
    if not header.architecture:
        raise damaged_file_error(header.path, "it does not say its architecture")
    if header.architecture == "clip" or kind in ("mmproj", "adapter"):
        what = "the eyes of another model" if kind != "adapter" else "an adapter to another model"
        raise ConfigError(f"{header.path} is {what}, not a language model")
    for key in ("block_count", "embedding_length", "context_length"):
        value = header.architecture_value(key)
        if value is not None and not (isinstance(value, int) and 1 <= value < 1 << 31):
            named = f"{header.architecture[:40]}.{key}"
            raise damaged_file_error(
                header.path, f"{named!r} is {str(value)[:40]!r}, not a number of at least 1"
            )
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        values = header.metadata.get(key)
        if (
            isinstance(tokens, MetadataList)
            and isinstance(values, MetadataList)
            and values.count != tokens.count
        ):
            raise damaged_file_error(
                header.path, f"it has {tokens.count} tokens and {values.count} values of {key}"
            )


def _check_tensors(header: GgufHeader) -> None:
    path = header.path
    alignment = header.metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise damaged_file_error(path, "its alignment is not a power of two")
    start = -(-header.end // alignment) * alignment
    for tensor in header.tensors:
        try:
            size = tensor.byte_size()
        except ValueError as error:
            raise damaged_file_error(path, f"the tensor {tensor.name[:60]!r} has {error}") from None
        end = start + tensor.offset + (size or 0)
        if tensor.offset % alignment:
            raise damaged_file_error(path, f"the tensor {tensor.name[:60]!r} is not aligned")
        if end > header.size:
            raise ConfigError(
                f"{path} is cut short: the tensor {tensor.name[:60]!r} ends at byte {end:,} and"
                f" the file has {header.size:,}; {PULL_ADVICE}"
            )
