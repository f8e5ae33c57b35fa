"""The parser of server-sent events against a plain one, written line by line from the standard."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.protocols.sse import EventTooLargeError, SseParser
from tests.support.paths import RECORDINGS

RECORDINGS = {path.stem: path.read_bytes() for path in sorted(RECORDINGS.glob("*.sse"))}
"""What ten providers send for the same answer, written after their own streams."""

SENTENCE = "Der Himmel ist blau, weil kürzere Wellen stärker streuen – ≈ λ⁻⁴ 👩‍🔬."
BOM = b"\xef\xbb\xbf"


# ---------------------------------------------------------------- the standard, as it is written


def reference(stream: bytes, *, whole: bool) -> list[bytes]:
    """
    The data of every event in *stream*, by WHATWG HTML, 9.2.6 "Interpreting an event stream".

    *whole*: the stream is over. There the standard drops an event whose blank line is missing,
    and we keep it. The other tolerance: lines that are each an object are each an event. Events
    of empty data are left out, here and in ours.
    """
    stream = stream.removeprefix(BOM)  # "one leading U+FEFF character must be ignored"
    *lines, rest = re.split(rb"\r\n|\n|\r", stream)
    events: list[bytes] = []
    buffer = b""
    for line in [*lines, rest, b""] if whole else lines:
        if not line:  # "If the line is empty: dispatch the event"
            if data := buffer.removesuffix(b"\n"):
                full = [part for part in data.split(b"\n") if part]
                events += full if len(full) > 1 and all(map(stands_alone, full)) else [data]
            buffer = b""
        elif line.startswith(b":"):  # "Ignore the line"
            pass
        else:  # "Collect the characters before … and after the first colon"
            name, _, value = line.partition(b":")
            if name == b"data":  # "If value starts with a U+0020 SPACE, remove it"
                buffer += value.removeprefix(b" ") + b"\n"
    return events


def stands_alone(line: bytes) -> bool:
    try:
        return line == b"[DONE]" or isinstance(json.loads(line), dict)
    except ValueError:
        return False


def fed(pieces: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """What our parser finds in the pieces, and what it has kept for the end."""
    parser = SseParser()
    return fed_to(parser, pieces), parser.flush()


def fed_to(parser: SseParser, pieces: Iterable[bytes]) -> list[bytes]:
    return [data for piece in pieces for data in parser.feed(piece)]


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """The stream in pieces."""
    edges = [0, *sorted(places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def agrees(stream: bytes, places: Sequence[int]) -> None:
    """Our parser finds what the standard says, before the end and at it, however it is cut."""
    found, last = fed(cut(stream, places))

    assert found == reference(stream, whole=False)
    assert found + last == reference(stream, whole=True)


# ---------------------------------------------------------------- recorded streams

SPELLINGS = {
    "as recorded": lambda stream: stream,
    "CR LF": lambda stream: stream.replace(b"\n", b"\r\n"),
    "CR": lambda stream: stream.replace(b"\n", b"\r"),
    "BOM": lambda stream: BOM + stream,
    "BOM, CR LF": lambda stream: BOM + stream.replace(b"\n", b"\r\n"),
    "no last blank line": lambda stream: stream.rstrip(b"\n"),
    "no space": lambda stream: stream.replace(b"data: ", b"data:"),
    "many lines": lambda stream: re.sub(rb',"(?=[a-z])', b',\ndata: "', stream, count=40),
}


def said(events: Iterable[bytes]) -> str:
    """The answer in a stream's events, whichever the dialect."""
    text = ""
    for data in events:
        if data != b"[DONE]":
            found: dict[str, Any] = json.loads(data)
            deltas = [found.get("delta") or {}, *(c["delta"] for c in found.get("choices", ()))]
            text += "".join(d.get("content") or d.get("text") or "" for d in deltas)
    return text


def test_there_are_recordings_of_ten_dialects():
    assert len(RECORDINGS) == 10


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_reads_the_same_wherever_it_is_cut(name, spelling):
    stream = SPELLINGS[spelling](RECORDINGS[name])
    before, after = reference(stream, whole=False), reference(stream, whole=True)
    assert said(after) == SENTENCE

    for place in range(len(stream) + 1):
        found, last = fed((stream[:place], stream[place:]))
        assert found == before, f"cut at {place}"
        assert found + last == after, f"cut at {place}"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_recording_reads_the_same_in_small_pieces(spelling, size):
    for stream in map(SPELLINGS[spelling], RECORDINGS.values()):
        agrees(stream, range(size, len(stream), size))


@pytest.mark.parametrize("name", RECORDINGS)
def test_an_event_comes_out_with_the_last_byte_of_its_blank_line(name):
    stream, parser, found = RECORDINGS[name], SseParser(), 0
    for end in range(1, len(stream) + 1):
        found += len(parser.feed(stream[end - 1 : end]))
        if stream[:end].endswith(b"\n\n"):
            assert found == len(reference(stream[:end], whole=False))


# ---------------------------------------------------------------- odd streams

ODD = [
    b"",
    b"\n",
    b"\r\n\r\n",
    b"data",
    b"data\n\n",
    b"data:\n\n",
    b"data: \n\n",
    b"data:  two spaces\n\n",
    b"data: a\n\n\n\ndata: b\n\n",
    b"data: a\ndata: b\ndata\ndata:c\n\n",
    b"data\ndata\n\n",
    b"data: a\r\rdata: b\r\r",
    b"data: a\r\n\rdata: b\n\r\n",
    b"data: a\n\rdata: b\r\n\n",
    b"data: a\r",
    b"data: a\r\n",
    b"data: a\r\n\r",
    b"data: a\n",
    b": comment\n\n",
    b":\n\ndata: a\n\n",
    b"data: a\n: comment\ndata: b\n\n",
    b"event: x\n\n",
    b"event: x\nid: 1\nretry: 3\ndata: a\n\n",
    b"datax: a\n\n",
    b" data: a\n\n",
    b"Data: a\n\n",
    b"data : a\n\n",
    b"data: a: b\n\n",
    b"data::a\n\n",
    BOM,
    BOM[:2],
    BOM + b"data: a\n\n",
    BOM[:2] + b"data: a\n\n",
    BOM + BOM + b"data: a\n\n",
    b"\n" + BOM + b"data: a\n\n",
    b"data: " + BOM + b"a\n\n",
    b"data: \xff\xfe\x00\n\n",
    b"id: \x00\ndata: a\n\n",
    "data: ü\u2028ß\u0085\n\n".encode(),  # line ends for Unicode, not for the standard
    b"data: a\x0bb\x0cc\x1cd\n\n",
]


@pytest.mark.parametrize("stream", ODD, ids=repr)
def test_odd_streams_read_as_the_standard_says_wherever_they_are_cut_twice(stream):
    agrees(stream, ())
    for places in combinations(range(len(stream) + 1), 2):
        agrees(stream, places)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_of_many_lines_cut_at_every_three_places(end):
    stream = end.join([BOM + b":c", b"data: \xe2\x89\x88", b"data", b"data:b", b"", b"data:e"])

    for places in combinations(range(len(stream) + 1), 3):
        agrees(stream, places)


def test_empty_pieces_change_nothing():
    for stream in RECORDINGS.values():
        found, last = fed([b"", stream[:100], b"", b"", stream[100:], b""])
        assert found + last == reference(stream, whole=True)


@pytest.mark.parametrize(
    "piece", [b"data: " + b"x" * 99, b"x" * 99, b":" + b" " * 99, b"\xef" * 99]
)
def test_an_event_that_never_ends_is_refused_before_it_fills_the_memory(piece):
    parser = SseParser(limit=1000)

    with pytest.raises(EventTooLargeError, match="1000 bytes"):
        fed_to(parser, [piece] * 20)


def test_many_events_are_no_large_event():
    parser = SseParser(limit=1000)

    assert len(fed_to(parser, [b"data: 123456\n\n"] * 200)) == 200


# ---------------------------------------------------------------- beyond the standard

BEYOND = [
    (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
    (b'event: x\ndata: {"a":1}\nevent: y\ndata: {"b":2}\n\n', [b'{"a":1}', b'{"b":2}']),
    (b'data: {\ndata: "a":1}\n\n', [b'{\n"a":1}']),
    (b'data: {"a":1}\ndata: {"b":\n\n', [b'{"a":1}\n{"b":']),
    (b'error: {"code":500,"message":"m"}\n\n', [b'{"code":500,"message":"m"}']),
    (b'error: {"message":"m"}\n\n', [b'{"error":{"message":"m"}}']),
    (b'data: error: {"message":"m"}\n\n', [b'{"error":{"message":"m"}}']),
    (b"data: Error: out of memory\n\n", [b'{"error":"out of memory"}']),
    (b'event: error\ndata: {"message":"m"}\n\n', [b'{"error":{"message":"m"}}']),
    (b'data: {"a":1}\n\n{"error":{"code":529}}', [b'{"a":1}', b'{"error":{"code":529}}']),
    (b'data: {"a":1}\n{"error": "m"}\n', [b'{"a":1}', b'{"error": "m"}']),
    (b'{\n  "error": {"code": 529}\n}\n\n', [b'{\n  "error": {"code": 529}\n}']),
    (b'{"choices":[],"id":"x"}\n\nerror:\n\nerror: null\n\nevent: error\ndata: {}\n\n', []),
]


@pytest.mark.parametrize(("stream", "found"), BEYOND, ids=repr)
def test_what_no_client_of_the_standard_would_read_is_read_where_it_is_plain(stream, found):
    for place in range(len(stream) + 1):
        before, last = fed(cut(stream, [place]))
        assert before + last == found, f"cut at {place}"


# ---------------------------------------------------------------- streams nobody would send

TOKENS = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b":", b" ", b"data", b"data:", b"data: ",
     b"event: x", b"id", b"[DONE]", b"{}", BOM, b"\xef", b"\xbb", b"\xbf", b"\x00", b"\xff",
     "ü".encode(), "👩‍🔬".encode()]
)  # fmt: skip
EDITS = st.tuples(
    st.sampled_from(["insert", "delete", "twice", "swap"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 40),
    st.one_of(TOKENS, st.binary(min_size=1, max_size=4)),
)


def edited(stream: bytes, edits: Sequence[tuple[str, float, int, bytes]]) -> bytes:
    """The stream with bytes put in, taken out, doubled or replaced."""
    for kind, where, length, new in edits:
        at = int(where * (len(stream) + 1))
        middle = stream[at : at + length]
        put = {"insert": new + middle, "delete": b"", "twice": middle * 2, "swap": new}[kind]
        stream = stream[:at] + put + stream[at + length :]
    return stream


def places(draws: Sequence[float], stream: bytes) -> list[int]:
    return [int(draw * (len(stream) + 1)) for draw in draws]


CUTS = st.lists(st.floats(0, 1, exclude_max=True), max_size=12)


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(sorted(RECORDINGS)), st.lists(EDITS, min_size=1, max_size=8), CUTS)
def test_a_damaged_recording_reads_as_the_standard_says(name, edits, cuts):
    stream = edited(RECORDINGS[name], edits)

    agrees(stream, places(cuts, stream))


@settings(max_examples=1500, deadline=None, database=None, derandomize=True)
@given(st.lists(TOKENS, max_size=24).map(b"".join), CUTS)
def test_any_stream_reads_as_the_standard_says(stream, cuts):
    agrees(stream, places(cuts, stream))


@pytest.mark.soak
@settings(max_examples=50_000, deadline=None, database=None)
@given(st.lists(TOKENS, max_size=40).map(b"".join), CUTS)
def test_very_many_streams_read_as_the_standard_says(stream, cuts):
    agrees(stream, places(cuts, stream))


@pytest.mark.soak
@pytest.mark.parametrize("name", RECORDINGS)
def test_very_many_damaged_recordings_read_as_the_standard_says(name):
    dice = random.Random(name)
    tokens = [b"\n", b"\r", b"\r\n", b"\n\n", b":", b"data: ", BOM, b"\xef", b"\x00", b" "]
    for _ in range(100_000):
        stream = RECORDINGS[name]
        start = dice.randrange(len(stream))
        stream = stream[start : start + 600]
        kinds = dice.choices(["insert", "delete", "twice", "swap"], k=dice.randint(1, 6))
        stream = edited(
            stream, [(k, dice.random(), dice.randint(1, 40), dice.choice(tokens)) for k in kinds]
        )
        agrees(stream, [dice.randint(0, len(stream)) for _ in range(dice.randint(0, 8))])
