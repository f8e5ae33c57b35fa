"""The file of calls under way: what a killed process leaves in it, what is torn, what is old."""

import json
import os
import resource
import signal
from contextlib import closing

import pytest

from mixtura.core.errors import StoreError
from mixtura.storage.in_flight_file import (
    FIRST_PLACES,
    PLACE_BYTES,
    InFlightCall,
    InFlightFile,
    read_in_flight_calls,
)

KEY = b"k" * 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal-in-flight"


def open_file(path):
    return closing(InFlightFile(path, journal=path, option=None))


def leave_calls(path, *calls):
    """What is in the file once a process with these calls under way was killed."""
    if not os.fork():
        file = InFlightFile(path, journal=path, option=None)
        for call in calls:
            file.add(*call)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.wait()[1] == signal.SIGKILL


def test_a_killed_process_leaves_its_calls_with_their_models(path):
    calls = [
        InFlightCall(bytes([n % 256]) * 20, 2**40 + n, name, n)
        for n, name in enumerate(["", "a model", "Übermodell", "gpt\n{}"] * FIRST_PLACES)
    ]

    leave_calls(path, *calls)

    # More of them than the file had places for at first.
    assert read_in_flight_calls(path) == calls


def test_a_place_that_a_kill_has_cut_at_any_byte_counts_for_nothing(path):
    earlier = InFlightCall(b"e" * 20, 1, "earlier", 10)
    leave_calls(path, earlier)
    before = path.read_bytes()
    path.unlink()
    leave_calls(path, InFlightCall(KEY, 1, "a longer name", 20))
    after = path.read_bytes()
    for cut in range(PLACE_BYTES):
        place = after[:cut] + before[cut:PLACE_BYTES]
        path.write_bytes(place)
        whole = {before[:PLACE_BYTES]: "earlier", after[:PLACE_BYTES]: "a longer name"}

        assert [one.model for one in read_in_flight_calls(path)] == [
            name for data, name in whole.items() if place == data
        ]


def test_places_are_used_again_and_only_those_that_were_cleared_are_empty(path):
    with open_file(path) as file:
        places = [file.add(KEY, 1, name, 5) for name in "abc"]
        file.remove(places[0])
        file.reuse(places[1])

        assert [one.model for one in read_in_flight_calls(path)] == ["b", "c"]
        again = {file.add(KEY, 2, name, 5) for name in "de"}
        assert again == set(places[:2])
        assert sorted(one.model for one in read_in_flight_calls(path)) == ["c", "d", "e"]


def test_a_file_whose_calls_are_all_over_is_empty_once_it_is_closed(path):
    with open_file(path) as file:
        for place in [file.add(KEY, 1, "a", 5) for _ in range(3)]:
            file.reuse(place)
    assert path.stat().st_size == 0


def test_the_calls_in_a_file_of_an_earlier_version_are_read(path):
    rows = [{"key": KEY.hex(), "run": 3, "model": "a", "prompt_tokens": 7}, {"key": "zz"}]
    lines = [json.dumps(row).encode().ljust(PLACE_BYTES - 1) + b"\n" for row in rows]
    wrong = json.dumps(rows[0] | {"key": "no key"}).encode().ljust(PLACE_BYTES)
    path.write_bytes(b"".join([lines[0], b"\0" + lines[0][1:], lines[1], wrong, lines[0][:40]]))

    assert read_in_flight_calls(path) == [InFlightCall(KEY, 3, "a", 7)]


@pytest.mark.parametrize("name", ["m" * 500, "ü" * 500, "\ud800"])
def test_a_name_that_is_too_long_or_no_text_hides_no_call(path, name):
    with open_file(path) as file:
        file.add(KEY, 1, name, 5)

        (found,) = read_in_flight_calls(path)

    assert found._replace(model="") == InFlightCall(KEY, 1, "", 5)
    assert name.startswith(found.model) or found.model == "?"


def test_a_file_that_cannot_grow_says_so_and_keeps_the_calls_it_has(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_file(path) as file:
        for _ in range(FIRST_PLACES):
            last = file.add(KEY, 1, "a", 5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FIRST_PLACES * PLACE_BYTES, hard))
        try:
            for _ in range(2):
                with pytest.raises(StoreError, match=r"journal-in-flight cannot be written"):
                    file.add(KEY, 1, "a", 5)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        file.reuse(last)
        assert file.add(KEY, 2, "b", 5) == last
        assert [one.model for one in read_in_flight_calls(path)].count("a") == FIRST_PLACES - 1
        file.add(KEY, 2, "c", 5)
        assert len(read_in_flight_calls(path)) == FIRST_PLACES + 1


def test_kills_at_any_moment_leave_only_whole_calls(path):
    for number in range(8):
        begun, begins = os.pipe()
        child = os.fork()
        if not child:
            file = InFlightFile(path, journal=path, option=None)
            places = []
            for count in range(1 << 40):
                name = str(count) * (1 + count % 9)
                places.append(file.add(count.to_bytes(20, "big"), number, name, count))
                if count > 300:
                    (file.reuse if count % 3 else file.remove)(places.pop(0))
                if count == 600 + 1000 * number:
                    os.write(begins, b".")
        os.read(begun, 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(begun)
        os.close(begins)

        calls = [one for one in read_in_flight_calls(path) if one.run == number]
        assert len(calls) >= 300
        for one in calls:
            count = int.from_bytes(one.key, "big")
            assert (one.model, one.prompt_tokens) == (str(count) * (1 + count % 9), count)
