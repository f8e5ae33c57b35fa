"""A model file of 80 kB, written from scratch: loads at once, and can be broken in every way."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH, HEADS, INNER = 32, 2, 64
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5


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
        "llama.context_length": (U32, 4096),
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
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", I32: "<i"}[kind], value)


def model(pairs: dict[str, tuple[int, Any]] | None = None, **changed: tuple[int, Any]) -> bytes:
    """The bytes of the file. *changed*: metadata to replace, with ``__`` for a dot."""
    pairs = dict(metadata() if pairs is None else pairs)
    pairs.update({key.replace("__", "."): value for key, value in changed.items()})
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors()), len(pairs))
    for key, (kind, value) in pairs.items():
        head += text(key) + struct.pack("<I", kind) + packed(kind, value)
    numbers, offset, data = random.Random(7), 0, b""
    for name, shape in tensors().items():
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", length) for length in shape)
        head += struct.pack("<IQ", 0, offset)
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [numbers.gauss(0, 0.3) if len(shape) > 1 else 1.0 for _ in range(count)]
        raw = struct.pack(f"<{count}f", *values)
        raw += bytes(-len(raw) % 32)
        data += raw
        offset += len(raw)
    return head + bytes(-len(head) % 32) + data


def written(path: Path, **changed: tuple[int, Any]) -> Path:
    path.write_bytes(model(**changed))
    return path


def with_template(path: Path, template: str) -> Path:
    path.write_bytes(model(metadata(template)))
    return path
