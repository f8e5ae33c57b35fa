"""Screenshots as one moving picture (APNG): a shared palette, and of each frame what changed."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PIXELS = """async (data) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const whole = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const canvas = new OffscreenCanvas(whole.width, whole.height);
  const pen = canvas.getContext('2d');
  pen.drawImage(whole, 0, 0);
  const { data: raw } = pen.getImageData(0, 0, whole.width, whole.height);
  let text = '';
  for (let at = 0; at < raw.length; at += 32768) text += String.fromCharCode(...raw.subarray(at, at + 32768));
  return [whole.width, whole.height, btoa(text)];
}"""  # noqa: E501


def pixels(blank: Page, png: bytes) -> np.ndarray:
    """A screenshot's colours, height × width × 3 bytes; *blank*: a page without a policy."""
    width, height, raw = blank.evaluate(_PIXELS, b64encode(png).decode())
    return np.frombuffer(b64decode(raw), np.uint8).reshape(height, width, 4)[:, :, :3]


def write_moving_picture(frames: list[np.ndarray], file: Path, *, pause: int, last: int) -> None:
    """*pause* and *last*: milliseconds of each frame, and of the last one."""
    palette = _palette(frames)
    indexed = [_indexed(frame, palette) for frame in frames]
    height, width = indexed[0].shape
    out = [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
    ]
    parts = _changes(indexed)
    out.append(_chunk(b"acTL", struct.pack(">II", len(parts), 0)))
    out.append(_chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    number = 0
    for i, (left, top, part) in enumerate(parts):
        high, wide = part.shape
        shown = last if i == len(parts) - 1 else pause
        head = struct.pack(">IIIIIHHBB", number, wide, high, left, top, shown, 1000, 0, 0)
        out.append(_chunk(b"fcTL", head))
        rows = np.concatenate([np.zeros((high, 1), np.uint8), part], axis=1)
        data = zlib.compress(rows.tobytes(), 9)
        number += 1
        if i == 0:
            out.append(_chunk(b"IDAT", data))
        else:
            out.append(_chunk(b"fdAT", struct.pack(">I", number) + data))
            number += 1
    out.append(_chunk(b"IEND", b""))
    file.write_bytes(b"".join(out))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _codes(frame: np.ndarray) -> np.ndarray:
    """Each colour as one number, its lowest bits left out: nobody sees them."""
    coarse = (frame & 0xFC).astype(np.uint32)
    return (coarse[:, :, 0] << 16) | (coarse[:, :, 1] << 8) | coarse[:, :, 2]


def _palette(frames: list[np.ndarray]) -> np.ndarray:
    found, counts = np.unique(
        np.concatenate([_codes(f).ravel() for f in frames]), return_counts=True
    )
    common = found[np.argsort(counts)[::-1][:256]]
    return np.stack([common >> 16, (common >> 8) & 255, common & 255], axis=1).astype(np.int32) + 2


def _indexed(frame: np.ndarray, palette: np.ndarray) -> np.ndarray:
    codes, places = np.unique(_codes(frame), return_inverse=True)
    colours = np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=1).astype(np.int32) + 2
    nearest = [np.argmin(((palette - colour) ** 2).sum(axis=1)) for colour in colours]
    return np.array(nearest, np.uint8)[places].reshape(frame.shape[:2])


def _changes(frames: list[np.ndarray]) -> list[tuple[int, int, np.ndarray]]:
    """The first frame whole, then of each the smallest box that has all its changes."""
    parts = [(0, 0, frames[0])]
    for before, frame in pairwise(frames):
        rows, columns = np.nonzero(before != frame)
        if not len(rows):
            rows = columns = np.array([0])
        top, left = int(rows.min()), int(columns.min())
        parts.append((left, top, frame[top : rows.max() + 1, left : columns.max() + 1]))
    return parts
