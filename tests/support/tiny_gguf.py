"""A model file of 80 kB, written from scratch: loads at once, and can be broken in every way."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, HEADS, INNER = 32, 2, 64
U16, U32, F32, BOOL, STRING, ARRAY, I32 = 2, 4, 6, 7, 8, 9, 5


def _bytes_as_text() -> list[str]:
    """The 256 letters that stand for bytes in a byte-level vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, next_free = {}, 256
    for byte in range(256):
        if byte in shown:
            letters[byte] = chr(byte)
        else:
            letters[byte], next_free = chr(next_free), next_free + 1
    return [letters[byte] for byte in range(256)]


CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*CONTROL, *_bytes_as_text(), "he", "ll"]


def metadata(template: str | None = CHATML) -> dict[str, tuple[int, Any]]:
    """Key to type and value, as a header has them."""
    types = [3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL))
    pairs: dict[str, tuple[int, Any]] = {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, "tiny"),
        "llama.block_count": (U32, 1),
        "llama.context_length": (U32, 65536),
        "llama.embedding_length": (U32, WIDTH),
        "llama.feed_forward_length": (U32, INNER),
        "llama.attention.head_count": (U32, HEADS),
        "llama.attention.head_count_kv": (U32, HEADS),
        "llama.rope.dimension_count": (U32, WIDTH // HEADS),
        "llama.rope.freq_base": (F32, 10000.0),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "llama.vocab_size": (U32, len(TOKENS)),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "smollm"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, TOKENS)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, types)),
        "tokenizer.ggml.merges": (ARRAY, (STRING, ["h e", "l l"])),
        "tokenizer.ggml.bos_token_id": (U32, 1),
        "tokenizer.ggml.eos_token_id": (U32, 2),
        "tokenizer.ggml.add_bos_token": (BOOL, False),
    }
    if template is not None:
        pairs["tokenizer.chat_template"] = (STRING, template)
    return pairs


def tensors() -> dict[str, tuple[int, ...]]:
    block = {
        "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,),
        "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (WIDTH, INNER), "ffn_up": (WIDTH, INNER), "ffn_down": (INNER, WIDTH),
    }  # fmt: skip
    return {
        "token_embd.weight": (WIDTH, len(TOKENS)),
        "output_norm.weight": (WIDTH,),
        **{f"blk.0.{name}.weight": shape for name, shape in block.items()},
    }


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def packed(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        inner, values = value
        head = struct.pack("<IQ", inner, len(values))
        return head + b"".join(packed(inner, one) for one in values)
    return struct.pack({U16: "<H", U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], value)


def model(pairs: dict[str, tuple[int, Any]] | None = None, **changed: tuple[int, Any]) -> bytes:
    """The bytes of the file. *changed*: metadata to replace, with ``__`` for a dot."""
    pairs = dict(metadata() if pairs is None else pairs)
    pairs.update({key.replace("__", "."): value for key, value in changed.items()})
    return _file(pairs, numbers())


def numbers() -> dict[str, bytes]:
    """Every tensor's numbers as the file has them."""
    draw, found = random.Random(7), {}
    for name, shape in tensors().items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [draw.gauss(0, 0.3) if len(shape) > 1 else 1.0 for _ in range(count)]
        if name == "token_embd.weight":  # never the likeliest: at temperature 0 it writes on
            values[: len(CONTROL) * WIDTH] = [0.0] * (len(CONTROL) * WIDTH)
        found[name] = struct.pack(f"<{count}f", *values)
    return found


def _file(pairs: dict[str, tuple[int, Any]], held: dict[str, bytes]) -> bytes:
    """A file with this metadata, and with the tensors that are in *held*."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(held), len(pairs))
    for key, (kind, value) in pairs.items():
        head += text(key) + struct.pack("<I", kind) + packed(kind, value)
    data = b""
    for name, raw in held.items():
        shape = tensors()[name]
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", length) for length in shape)
        head += struct.pack("<IQ", 0, len(data))
        data += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + data


def split(folder: Path, count: int = 3, stem: str = "tiny", ending: str = ".gguf") -> list[Path]:
    """The model in *count* files, as llama.cpp's own tool splits one; all metadata in the first."""
    every = list(numbers().items())
    paths: list[Path] = []
    for number in range(count):
        told = {
            "split.no": (U16, number),
            "split.count": (U16, count),
            "split.tensors.count": (I32, len(every)),
        }
        pairs = metadata() | told if number == 0 else told
        path = folder / f"{stem}-{number + 1:05}-of-{count:05}{ending}"
        path.write_bytes(_file(pairs, dict(every[number::count])))
        paths.append(path)
    return paths


def written(path: Path, **changed: tuple[int, Any]) -> Path:
    path.write_bytes(model(**changed))
    return path


def with_template(path: Path, template: str) -> Path:
    path.write_bytes(model(metadata(template)))
    return path


# ---- broken in every way


def mutations(seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Broken models without end: what is wrong with each, and its bytes. The same every time."""
    draw = random.Random(seed)
    sound = model()
    yield from _senseless_values()
    yield from _wrong_shapes(sound)
    for length in (0, 3, 4, 8, 23, 24, 31, 200, 2000, len(sound) // 2, len(sound) - 1):
        yield f"cut to {length} bytes", sound[:length]
    header = len(sound) - 4 * sum(math.prod(shape) for shape in tensors().values())
    while True:
        broken = bytearray(sound)
        at = draw.randrange(4, header)
        match draw.randrange(5):
            case 0:
                broken[at] ^= 1 << draw.randrange(8)
                yield f"bit flipped at {at}", bytes(broken)
            case 1:
                value = draw.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
                broken[at : at + 8] = struct.pack("<Q", value)
                yield f"{value:#x} at {at}", bytes(broken)
            case 2:
                broken[at : at + 16] = draw.randbytes(16)
                yield f"noise at {at}", bytes(broken)
            case 3:
                del broken[at : at + draw.randrange(1, 64)]
                yield f"bytes missing at {at}", bytes(broken)
            case _:
                for _ in range(20):
                    broken[draw.randrange(4, header)] = draw.randrange(256)
                yield "twenty bytes changed", bytes(broken)


def _senseless_values() -> Iterator[tuple[str, bytes]]:
    for key, (kind, _) in metadata().items():
        without = {k: v for k, v in metadata().items() if k != key}
        yield f"no {key}", model(without)
        others = {
            U32: [(U32, n) for n in (0, 1, 3, 7, 2**31, 2**32 - 1)] + [(STRING, "x")],
            F32: [(F32, f) for f in (0.0, -1.0, math.nan, math.inf, 1e38)],
            STRING: [(STRING, s) for s in ("", "x" * 5000, b"\xff\xfe", "bert")] + [(U32, 1)],
            BOOL: [(BOOL, True), (STRING, "x")],
            ARRAY: [(ARRAY, (STRING, [])), (ARRAY, (U32, [0])), (U32, 7)],
        }[kind]
        for value in others:
            if key != "tokenizer.chat_template":
                yield f"{key} is {str(value[1])[:20]}", model(metadata() | {key: value})


def _wrong_shapes(sound: bytes) -> Iterator[tuple[str, bytes]]:
    for name, shape in tensors().items():
        at = sound.index(text(name)) + len(text(name)) + 4
        for value in (0, 1, 31, 2**31, 2**40, 2**63):
            yield f"{name} is {value} wide", _put(sound, at, struct.pack("<Q", value))
        kind = at + 8 * len(shape)
        for value in (2, 8, 12, 31, 99, 2**32 - 1):
            yield f"{name} is of type {value}", _put(sound, kind, struct.pack("<I", value))
        for value in (1, 2**20, 2**63):
            yield f"{name} is at {value}", _put(sound, kind + 4, struct.pack("<Q", value))
        yield f"no {name}", sound.replace(name.encode(), name[:-1].encode() + b"x")


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


DEEP = 20_000
HOSTILE: tuple[str, ...] = (
    # endless, or as good as
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in messages * 100000000 %}{% endfor %}",
    "{% set ns = namespace(x=1) %}{% for i in range(100000000) %}{% set ns.x = i %}{% endfor %}",
    # too deep
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    (
        "{% macro f() %}{{ caller() }}{% endmacro %}"
        "{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}{{ g() }}"
    ),
    "{{ " + "(" * DEEP + "1" + ")" * DEEP + " }}",
    "{{ " + "[" * DEEP + "]" * DEEP + " }}",
    "{{ " + "not " * DEEP + "1 }}",
    "{{ " + "-" * DEEP + "1 }}",
    "{{ 1" + " + 1" * DEEP + " }}",
    "{{ x" + ".x" * DEEP + " }}",
    "{{ 'x'" + "|upper" * DEEP + " }}",
    "{% if 1 %}" * DEEP + "{% endif %}" * DEEP,
    "{% for i in [1] %}" * DEEP + "{% endfor %}" * DEEP,
    # too much
    "{{ 'x' * 10000000000 }}",
    (
        "{% set ns = namespace(x='x') %}"
        "{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"
    ),
    "{{ range(10000000000)|list }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ ('x' * 1000000)|replace('x', 'x' * 1000000) }}",
    "{{ messages|tojson(indent=1000000000) }}",
    # senseless
    "",
    "{",
    "{{",
    "{% for %}",
    "{% endif %}",
    "{% raw %}",
    "{{ 1 / 0 }}",
    "{{ 1 % 0 }}{{ 1 // 0 }}",
    "{{ messages[99].content.x.y }}",
    "{{ messages[0]['content'][-99999999999] }}",
    "{{ 'x'[0:99999999999:0] }}",
    "{{ raise_exception('no') }}",
    "{{ nothing() }}",
    "{{ strftime_now('%' * 1000) }}",
    "{% include 'x' %}",
    "{{ self }}{{ [] | map('x') | list }}",
    "\x00\ufffd{{ '\\ud800' }}",
    "{{ messages }}" * 5000,
)
"""Chat templates that no one should have to live with."""
