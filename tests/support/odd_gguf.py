"""Model files whose header lies: types, lengths, names, places; and templates that lie in wait."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

from tests.support import tiny_gguf as tiny

NAMES = (
    "",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "a\nb",
    "\u202ea",
    "%s%n%d",
    "{0}",
    "ß",
    "x" * 60_000,
)
"""What no one calls a value, a tensor or a model."""
LENGTHS = (0, 1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_ALL_KINDS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


def odd_files(seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """What is wrong with each file, and its bytes; over 400, the same every time."""
    yield from _other_types()
    yield from _lying_lengths()
    yield from _odd_names()
    yield from _doubled_and_missing()
    yield from _odd_layouts()
    yield from _odd_vocabularies()
    yield from _mixed(seed)


def odd_templates() -> list[str]:
    """Templates that are hostile in another way than those of `tiny_gguf.HOSTILE`."""
    deep = 5_000
    loops = "{% for m in messages %}" * 12 + "x" + "{% endfor %}" * 12
    return [
        "{% set x = messages %}" * deep, "{% set x = [x, x] %}" * 60 + "{{ x }}",
        "{% set ns = namespace(a=[]) %}{% set ns.a = ns %}{{ ns }}",
        "{% set a = {} %}{% set b = {'a': a} %}{{ b|tojson }}" * 200,
        "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f() %}{{ f }}{% endmacro %}{{ f() }}", "{{ '\\x00' }}{{ messages[0].content }}",
        "{{ messages[0].content | replace('', 'x' * 10000) }}", "{{ 'a' | join('b') | join('c') }}",
        "{{ (1, 2) + [3] }}", "{{ 'x' ~ 1 ~ none ~ true ~ messages }}", "{{ 10 ** 10 ** 10 }}",
        "{{ -9223372036854775808 // -1 }}", "{{ 9223372036854775807 + 1 }}", "{{ 1e308 * 1e308 }}",
        "{{ 'x' * -1 }}{{ 'x'[::-1] }}{{ 'x'[5] }}", "{{ [1, 2, 3][::0] }}", "{{ {}['x'] }}",
        "{{ messages | sort | first | last }}", "{{ messages | map(attribute='x.y.z') | list }}",
        "{{ messages | selectattr('content', 'nothing') | list }}", "{{ {[]: 1} }}",
        "{{ raise_exception('\x1b[31m' + 'x' * 100000) }}", "{{ raise_exception(messages) }}",
        "{{ raise_exception() }}", "{% generation %}", "{% endmacro %}{% endfor %}", "{#" * deep,
        "{% if %}{% elif %}{% else %}{% endif %}", "{% set = 1 %}", "{% set 1 = 1 %}", "{% call %}",
        "{% filter upper %}{{ messages }}{% endfilter %}", "{{ range(5, 0, 0) | list }}",
        "{% for a, b, c in messages %}{% endfor %}", "{% for k in 5 %}{% endfor %}", "{% break %}",
        "{{ strftime_now(messages) }}", "{{ strftime_now('%') }}", "{{ tojson() }}", "{{ loop }}",
        "{{ messages[0].content.split('').pop().strip(1) }}", "{{ ''.split('') }}", "{{ 'é'[0] }}",
        "<|im_end|>" * 50_000, "\ufeff" + tiny.CHATML, "{{ '" + "\\" * deep + "' }}", loops,
        tiny.CHATML + "{% if messages|length > 0 %}{{ messages[-1].content * 5000000 }}{% endif %}",
    ]  # fmt: skip


def _header(count: int, pairs: int, version: int = 3) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", version, count, pairs)


def one_pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return tiny.text(key) + struct.pack("<I", kind) + value


def with_pairs(more: bytes, many: int = 1) -> bytes:
    """A sound file with further metadata, of any bytes."""
    sound = tiny.model()
    pairs = len(tiny.metadata())
    data = sound.find(tiny.text("token_embd.weight"))
    head = sound[24:data]
    rest = sound[data:]
    tensors = len(tiny.tensors())
    end = rest.rfind(tiny.text("blk.0.ffn_down.weight")) + 8 + len("blk.0.ffn_down.weight")
    end += 4 + 16 + 12
    whole = _header(tensors, pairs + many) + head + more + rest[:end]
    numbers = sound[data + end + (-(data + end) % 32) :]
    return whole + bytes(-len(whole) % 32) + numbers


def _other_types() -> Iterator[tuple[str, bytes]]:
    for key, (kind, _) in tiny.metadata().items():
        for other, form in list(_ALL_KINDS.items())[:: 2 if kind == tiny.U32 else 3]:
            if other != kind:
                value = struct.pack(f"<{form}", 1)
                yield f"{key} is of type {other}", _replaced(key, other, value)
        for other in (9, 13, 99, 2**31):
            yield f"{key} is of type {other}", _replaced(key, other, bytes(16))


def _replaced(key: str, kind: int, value: bytes) -> bytes:
    """A sound file in which one value is of these bytes."""
    sound = tiny.model()
    old_kind, old = tiny.metadata()[key]
    before = tiny.text(key) + struct.pack("<I", old_kind) + tiny.packed(old_kind, old)
    return sound.replace(before, one_pair(key, kind, value), 1)


def _lying_lengths() -> Iterator[tuple[str, bytes]]:
    for length in LENGTHS:
        said = struct.pack("<Q", length)
        yield f"a text of {length} bytes", with_pairs(one_pair("x.y", tiny.STRING, said))
        yield f"a name of {length} bytes", with_pairs(said)
        for inner in (0, 7, 8, 9, 12):
            value = struct.pack("<I", inner) + said
            yield f"a list of {length} x {inner}", with_pairs(one_pair("x.y", tiny.ARRAY, value))
        yield f"{length} tensors", _header(length, 0) + bytes(200)
        yield f"{length} values", _header(0, length) + bytes(200)


def _odd_names() -> Iterator[tuple[str, bytes]]:
    for name in NAMES:
        value = struct.pack("<I", 1)
        yield f"a value called {name[:9]!r}", with_pairs(one_pair(name, tiny.U32, value))
        cut = one_pair(name, tiny.ARRAY, struct.pack("<IQ", 8, 2**40))
        yield f"a list called {name[:9]!r}", with_pairs(cut)
        for key in ("general.architecture", "general.name", "tokenizer.ggml.pre", "general.type"):
            changed: dict[str, tuple[int, Any]] = {key: (tiny.STRING, name)}
            yield f"{key} is {name[:9]!r}", tiny.model(tiny.metadata() | changed)
        renamed = tiny.model().replace(
            tiny.text("blk.0.attn_q.weight"), tiny.text(name) if len(name) < 99 else b"", 1
        )
        yield f"a tensor called {name[:9]!r}", renamed
    for raw in (b"\xff\xfe\xfd", b"\xc3", b"\xed\xa0\x80"):
        yield f"a name of {raw!r}", with_pairs(one_pair(raw, tiny.U32, struct.pack("<I", 1)))


def _doubled_and_missing() -> Iterator[tuple[str, bytes]]:
    for key, (kind, value) in tiny.metadata().items():
        again = one_pair(key, kind, tiny.packed(kind, value))
        yield f"{key} twice", with_pairs(again)
    sound = tiny.model()
    yield "a tensor twice", sound.replace(b"blk.0.attn_k.weight", b"blk.0.attn_q.weight", 1)
    for version in (0, 1, 2, 4, 2**16, 2**32 - 1):
        yield f"version {version}", sound[:4] + struct.pack("<I", version) + sound[8:]
    for count in range(-3, 4):
        tensors = len(tiny.tensors()) + count
        yield f"{count} tensors more", sound[:8] + struct.pack("<Q", tensors) + sound[16:]
        pairs = len(tiny.metadata()) + count
        yield f"{count} values more", sound[:16] + struct.pack("<Q", pairs) + sound[24:]


def _odd_layouts() -> Iterator[tuple[str, bytes]]:
    for alignment in (0, 1, 2, 3, 33, 64, 4096, 2**31, 2**32 - 1):
        pair = one_pair("general.alignment", tiny.U32, struct.pack("<I", alignment))
        yield f"alignment {alignment}", with_pairs(pair)
    for kind in (0, 5, 6, 7, 8, 9, 11):
        pair = one_pair("general.alignment", kind, bytes(8))
        yield f"an alignment of type {kind}", with_pairs(pair)
    for count in (0, 1, 2, 3, 255, 65535):
        for number in (0, 1, 65535):
            told = {
                "split.count": (tiny.U16, count), "split.no": (tiny.U16, number),
                "split.tensors.count": (tiny.I32, -1),
            }  # fmt: skip
            yield f"part {number} of {count}", tiny.model(tiny.metadata() | told)
    for kind in (*range(42), 255, 2**31):
        sound = tiny.model()
        at = sound.index(tiny.text("output_norm.weight")) + 8 + len("output_norm.weight") + 12
        yield f"a tensor of type {kind}", sound[:at] + struct.pack("<I", kind) + sound[at + 4 :]


def _odd_vocabularies() -> Iterator[tuple[str, bytes]]:
    def changed(**values: tuple[int, Any]) -> bytes:
        return tiny.model(**{f"tokenizer__ggml__{key}": value for key, value in values.items()})

    count = len(tiny.TOKENS)
    for value in (-1, -(2**31), count, count + 1, 2**31 - 1):
        for key in ("bos_token_id", "eos_token_id", "padding_token_id", "eot_token_id"):
            yield f"{key} is {value}", changed(**{key: (tiny.I32, value)})
    for many in (0, 1, 2, count - 1, count + 1, 100_000):
        tokens = [f"t{i}" for i in range(many)]
        yield f"{many} tokens", changed(tokens=(tiny.ARRAY, (tiny.STRING, tokens)))
        types = (tiny.ARRAY, (tiny.I32, [1] * many))
        yield f"{many} types", changed(token_type=types)
        both = {"tokens": (tiny.ARRAY, (tiny.STRING, tokens)), "token_type": types}
        yield f"{many} tokens and types", changed(**both)
    for kind in (-1, 0, 7, 99, 2**31 - 1):
        yield f"tokens of kind {kind}", changed(token_type=(tiny.ARRAY, (tiny.I32, [kind] * count)))
    for token in ("", "\0", "<|im_start|>", "x" * 100_000):
        yield f"tokens {token[:9]!r}", changed(tokens=(tiny.ARRAY, (tiny.STRING, [token] * count)))
    for merge in ("", " ", "a", "a b c", "\0 \0", "he ll", "h e"):
        merges = (tiny.ARRAY, (tiny.STRING, [merge] * 50))
        yield f"merges {merge!r}", changed(merges=merges)
    for name in ("llama", "bert", "t5", "rwkv", "none", "plamo2", "nonsense"):
        yield f"a tokenizer {name}", changed(model=(tiny.STRING, name))


def _mixed(seed: int) -> Iterator[tuple[str, bytes]]:
    """Two faults at once, and pieces of the header in another order."""
    draw = random.Random(seed)
    sound = tiny.model()
    end = sound.index(tiny.text("token_embd.weight"))
    for number in range(60):
        broken = bytearray(sound)
        for _ in range(2):
            at, length = draw.randrange(24, end), draw.choice((4, 8, 24))
            there = draw.randrange(24, end)
            broken[at : at + length] = sound[there : there + length]
        yield f"pieces moved, {number}", bytes(broken)
