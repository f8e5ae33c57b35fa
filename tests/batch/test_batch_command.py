"""mixtura batch as a person uses it: formats in and out, failures, caps, resuming."""

import json

import pytest

from tests.support.batches import broken_off, read_lines, steady, team_toml, unavailable, write_rows
from tests.support.shell import desk, shell  # noqa: F401 - fixtures
from tests.support.upstream import Script, running


@pytest.fixture
def upstream():
    with running(steady()) as upstream:
        yield upstream


@pytest.fixture
def batch(shell, upstream):  # noqa: F811
    """`mixtura batch` in a folder with a mixture called team."""
    shell.desk.write(team_toml(upstream.base_url(), retries=0))

    def run(*words: str, stdin: bytes = b""):
        return shell.run("batch", *words, "-m", "team", stdin=stdin)

    run.folder = shell.desk.folder
    return run


def test_every_row_is_answered_in_the_order_of_the_input(batch, upstream):
    names = write_rows(batch.folder / "in.jsonl", 20)

    done = batch("in.jsonl", "out.jsonl")

    lines = read_lines(batch.folder / "out.jsonl")
    assert done.code == 0, done.err
    assert done.out == ""
    assert [line["custom_id"] for line in lines] == names
    assert list(lines[0]) == ["custom_id", "answer", "usage", "cost_usd", "degraded"]
    assert all(line["answer"].startswith("last.") and not line["degraded"] for line in lines)
    assert len(upstream.records) == 60
    whole = upstream.ledger()
    assert sum(line["usage"]["prompt_tokens"] for line in lines) == whole.prompt
    assert sum(line["usage"]["completion_tokens"] for line in lines) == whole.completion
    price = (whole.prompt + 2 * whole.completion) / 1e6
    assert sum(line["cost_usd"] for line in lines) == pytest.approx(price)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("in.jsonl", "in.jsonl"), "IN and OUT are the same file"),
        (("in.jsonl", "link.jsonl"), "IN and OUT are the same file"),
        (("in.jsonl", "./x/../in.jsonl"), "IN and OUT are the same file"),
        (("in.jsonl", "out.jsonl", "--journal", "in.jsonl"), "IN and the journal are the same"),
        (("in.errors.jsonl", "in.jsonl"), "IN and OUT's file of errors are the same file"),
    ],
)
def test_the_input_is_never_replaced_by_what_is_written(batch, upstream, words, said):
    (batch.folder / "x").mkdir()
    for name in ("in.jsonl", "in.errors.jsonl"):
        write_rows(batch.folder / name, 2)
    (batch.folder / "link.jsonl").symlink_to("in.jsonl")
    before = (batch.folder / words[0]).read_bytes()

    done = batch(*words, "--overwrite")

    assert done.code == 2
    assert said in done.err
    assert (batch.folder / words[0]).read_bytes() == before
    assert upstream.records == []


@pytest.mark.parametrize("name", ["out.jsonl", "./out.jsonl.part", "out.errors.jsonl"])
def test_the_journal_is_never_replaced_by_what_is_written(batch, upstream, name):
    write_rows(batch.folder / "in.jsonl", 2)

    done = batch("in.jsonl", "out.jsonl", "--journal", name, "--overwrite")

    assert "the journal and OUT" in done.complaint
    assert done.code == 2
    assert upstream.records == []


def test_the_same_command_again_asks_nothing(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 5)
    batch("in.jsonl", "out.jsonl")
    before = (batch.folder / "out.jsonl").read_bytes()

    done = batch("in.jsonl", "out.jsonl", "--json")

    end = json.loads(done.out.splitlines()[-1])
    assert (done.code, end["event"], end["done"], end["calls"]) == (0, "finished", 5, 0)
    assert len(upstream.records) == 15
    assert (batch.folder / "out.jsonl").read_bytes() == before


def test_equal_rows_are_drawn_apart_unless_they_are_to_share(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 0, equal=4)

    batch("in.jsonl", "apart.jsonl")
    apart = len(upstream.records)
    batch("in.jsonl", "shared.jsonl", "--dedupe")

    assert apart == 12
    assert len(upstream.records) - apart == 3
    assert len({line["answer"] for line in read_lines(batch.folder / "shared.jsonl")}) == 1


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("in.csv", "id,question,answer\nx,What is 1+1?,2\n", ("--column", "question")),
        ("in.tsv", "prompt\tid\nWhat is 1+1?\tx\n", ()),
        ("in.txt", "\ufeffWhat is 1+1?\n\n", ()),
        ("in.jsonl", '"What is 1+1?"\n', ()),
        ("in.jsonl", '{"n": [1, 1], "op": "plus"}\n', ("--template", "{n} {{with}} {op}?")),
        ("in.jsonl", '{"messages": [{"role": "user", "content": "What is 1+1?"}]}\n', ()),
        ("in.jsonl", '{"instruction": "What is", "input": "1+1?", "output": "2"}\n', ()),
        (
            "in.jsonl",
            '{"instruction": "What is 1+1?", "input": "", "text": "Below is: What is 1+1?"}',
            (),
        ),
        ("in.jsonl", '\ufeff{"prompt": "What is\u20281+1?"}\r\n', ()),
        ("in.json", '[{"prompt": "What is 1+1?"}]', ()),
        ("in.json", '{\n "prompt": "What is 1+1?"\n}\n', ()),
        ("in.data", '{"prompt": "What is 1+1?"}', ("--format", "jsonl")),
    ],
)
def test_a_prompt_is_found_in_every_format(batch, upstream, name, text, options):
    (batch.folder / name).write_text(text, encoding="utf-8")

    done = batch(name, "out.jsonl", *options)

    asked = upstream.of("a")[0].body["messages"][0]["content"]
    assert done.code == 0, done.err
    same = ("What is 1+1?", "What is\u20281+1?", "What is\n\n1+1?", "[1,1] {with} plus?")
    assert asked in same


def test_standard_input_goes_to_standard_output(batch):
    done = batch("-", "-", stdin=b'{"id": "x", "prompt": "Well?"}\n')

    assert done.code == 0, done.err
    assert json.loads(done.out)["custom_id"] == "x"


def test_what_went_to_standard_output_names_no_file_that_is_gone(batch, upstream):
    def script(record):
        bad = "one that fails" in str(record.body)
        return Script("x", ever=unavailable) if bad else Script("Yes.")

    upstream.otherwise = script
    rows = b'"one that fails"\n"fine"\n'

    done = batch("-", "-", stdin=rows)
    told = batch("-", "-", "--json", stdin=rows)
    stopped = batch("-", "-", "--max-cost", "0.02", stdin=rows)

    assert (done.code, told.code, stopped.code) == (3, 3, 4), done.err
    assert [json.loads(line)["custom_id"] for line in done.out.splitlines()] == ["2"]
    first, *said = done.err.splitlines()
    assert json.loads(first)["custom_id"] == "1"
    assert "HTTP 503" in json.loads(first)["error"]["message"]
    assert said[0].endswith(": standard output")
    assert "tmp" not in done.err
    assert "--retry-failed" not in done.err
    end = json.loads(told.err.splitlines()[-1])
    assert (end["output"], end["errors"], end["journal"]) == (None, None, None)
    assert "give it a --journal" in stopped.err


def test_pictures_go_with_their_prompts(batch, upstream):
    picture = b"\x89PNG\r\n\x1a\n" + bytes(20)
    (batch.folder / "cat.png").write_bytes(picture)
    rows = [
        {"prompt": "What is this?", "image": "cat.png"},
        {"prompt": "And these?", "images": ["https://a.example/1.png", "cat.png"]},
    ]
    (batch.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = batch("in.jsonl", "out.jsonl")

    shown = [record.body["messages"][0]["content"] for record in upstream.of("last")]
    assert done.code == 0, done.err
    urls = {part["image_url"]["url"] for one in shown for part in one if part["type"] != "text"}
    assert {url.partition(",")[0] for url in urls} == {
        "data:image/png;base64", "https://a.example/1.png",
    }  # fmt: skip


def test_rows_that_are_pictures_alone_have_one_prompt_for_all(batch, upstream):
    (batch.folder / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    rows = [{"photo": f"https://a.example/{n}.png"} for n in range(2)] + [{"photo": "cat.png"}]
    (batch.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (batch.folder / "prompt.txt").write_text("Say what is in it.")
    words = ("--template", "@prompt.txt", "--image-column", "photo")

    done = batch("in.jsonl", "out.jsonl", *words)

    contents = [record.body["messages"][-1]["content"] for record in upstream.of("a")]
    assert done.code == 0, done.err
    assert [[part["type"] for part in one] for one in contents] == [["image_url", "text"]] * 3
    assert {one[1]["text"] for one in contents} == {"Say what is in it."}


def test_a_prompt_that_is_the_same_for_all_rows_is_refused_once_and_for_a_row_without_a_picture(
    batch, upstream
):
    (batch.folder / "in.jsonl").write_text('{"q": "a"}\n' * 9)
    rows = [{"photo": "https://a.example/1.png"}, {"photo": ""}, {"photo": []}]
    (batch.folder / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    none = batch("in.jsonl", "out.jsonl", "--template", "Same?")
    some = batch("some.jsonl", "out.jsonl", "--template", "Same?", "--image-column", "photo")

    assert (none.code, some.code) == (2, 2)
    assert none.err.count("--template has no field") == 1
    assert "in.jsonl:1" in none.err
    assert [f"some.jsonl:{line}:" in some.err for line in (1, 2, 3)] == [False, True, True]
    assert not upstream.records


def openai_row(name, **body):
    messages = [{"role": "user", "content": f"Question {name}?"}]
    body = {"model": "gpt", "messages": messages, **body}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_an_openai_batch_file_gives_openai_lines_and_errors(batch, upstream):
    def refuses_one(record):
        bad = "Question bad?" in record.prompt
        return Script("Yes.", ever=unavailable if bad else None)

    upstream.otherwise = refuses_one
    rows = [openai_row("good", temperature=0.5, max_tokens=9), openai_row("bad")]
    (batch.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = batch("in.jsonl", "out.jsonl")

    (line,) = read_lines(batch.folder / "out.jsonl")
    (error,) = read_lines(batch.folder / "out.errors.jsonl")
    assert done.code == 3
    assert "out.errors.jsonl" in done.err
    assert (line["custom_id"], line["error"], line["response"]["status_code"]) == (
        "good",
        None,
        200,
    )
    body = line["response"]["body"]
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Yes."}
    assert (body["object"], body["model"]) == ("chat.completion", "team")
    assert (error["custom_id"], error["response"]) == ("bad", None)
    assert error["error"]["message"]
    assert upstream.of("last")[0].body["max_tokens"] == 9


def test_failed_rows_are_written_with_their_cause_and_put_in_place_when_retried(batch, upstream):
    names = write_rows(batch.folder / "in.jsonl", 6)
    good = upstream.otherwise

    def refuses_one(record):
        return Script(ever=unavailable) if "Question 2?" in record.prompt else good(record)

    upstream.otherwise = refuses_one

    failed = batch("in.jsonl", "out.jsonl")

    (error,) = read_lines(batch.folder / "out.errors.jsonl")
    assert failed.code == 3
    assert "--retry-failed" in failed.err
    assert error["custom_id"] == "r2"
    assert "503" in error["error"]["message"]
    assert len([one for one in upstream.of("a") if "Question 2?" in one.prompt]) == 2, "at the end"

    upstream.otherwise = good
    again = batch("in.jsonl", "out.jsonl")
    asked = len(upstream.records)
    mended = batch("in.jsonl", "out.jsonl", "--retry-failed")

    assert (again.code, mended.code) == (3, 0)
    assert "The reason: " in again.err
    assert len(upstream.records) - asked == 3
    assert [line["custom_id"] for line in read_lines(batch.folder / "out.jsonl")] == names
    assert not (batch.folder / "out.errors.jsonl").exists()


def test_outputs_of_other_endings_have_files_of_errors_of_their_own(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 2)
    good = upstream.otherwise
    upstream.otherwise = lambda _: Script(ever=unavailable)
    assert batch("in.jsonl", "answers.v1").code == 3
    upstream.otherwise = good

    assert batch("in.jsonl", "answers.v2").code == 0

    assert len(read_lines(batch.folder / "answers.v1.errors.jsonl")) == 2


@pytest.mark.parametrize("faults", [unavailable, broken_off])
def test_calls_without_an_answer_are_counted_over_all_runs(batch, upstream, faults):
    write_rows(batch.folder / "in.jsonl", 3)
    upstream.otherwise = lambda _: Script(ever=faults)

    told = batch("in.jsonl", "out.jsonl")
    first = len(upstream.records)
    again = batch("in.jsonl", "out.jsonl", "--retry-failed", "--json")
    end = json.loads(again.out.splitlines()[-1])
    idle = batch("in.jsonl", "out.jsonl")

    assert first >= 6
    assert f"{first} calls ({first} without an answer); " in told.err
    assert end["calls"] == end["unanswered_calls"] == len(upstream.records) - first > 0
    assert end["all_calls"] == len(upstream.records)
    assert f"0 calls; {len(upstream.records)} calls, " in idle.err


def test_calls_that_were_made_again_are_counted_beside_their_answers(batch, upstream):
    batch.folder.joinpath("mixtura.toml").write_text(team_toml(upstream.base_url(), retries=3))
    write_rows(batch.folder / "in.jsonl", 5)

    def refuses_first(record):
        wrong = record.model == "last" and record.attempt == 1
        return Script("Yes.", ever=unavailable if wrong else None)

    upstream.otherwise = refuses_first

    done = batch("in.jsonl", "out.jsonl", "--json")

    end = json.loads(done.out.splitlines()[-1])
    assert done.code == 0
    assert end["calls"] == end["all_calls"] == len(upstream.records) == 20
    assert end["unanswered_calls"] == 5


def test_a_limit_of_one_model_is_that_of_its_address_and_concurrency_only_a_default(
    batch, upstream
):
    tables = "".join(
        f'[models.{name}]\nbase_url = "{upstream.base_url()}"\nmodel = "{name}"\n{limits}\n'
        for name, limits in (
            ("a", ""),
            ("b", "limits = { concurrency = 2 }"),
            ("last", "limits = { concurrency = 2 }"),
        )
    )
    mixture = '[mixtures.team]\naggregator = "last"\nlayers = [["a", "b"]]\n'
    (batch.folder / "mixtura.toml").write_text(tables + mixture)
    write_rows(batch.folder / "in.jsonl", 4)
    upstream.otherwise = steady(delay=(0.02, 0.05))

    done = batch("in.jsonl", "out.jsonl")

    assert done.code == 0, done.err
    assert (
        max(
            sum(other.arrived <= one.arrived < other.sends[-1] for other in upstream.records)
            for one in upstream.records
        )
        <= 2
    )


def test_what_cannot_begin_leaves_no_journal_and_a_dry_run_finds_it(batch, upstream):
    text = team_toml(upstream.base_url()).replace("concurrency = 8", "concurrency = 2", 1)
    (batch.folder / "mixtura.toml").write_text(text)
    write_rows(batch.folder / "in.jsonl", 2)
    before = sorted(path.name for path in batch.folder.iterdir())

    dry = batch("in.jsonl", "out.jsonl", "--dry-run")
    real = batch("in.jsonl", "out.jsonl")
    wrong = batch("in.jsonl", "out.jsonl", "--column", "nowhere")

    assert (dry.code, real.code, wrong.code) == (2, 2, 2)
    assert "concurrency is 8 here and 2 for another model at the same address" in dry.err
    assert "concurrency is 8 here and 2 for another model at the same address" in real.err
    assert sorted(path.name for path in batch.folder.iterdir()) == before
    assert not upstream.records


def test_a_cap_stops_the_batch_and_more_money_goes_on(batch, upstream):
    names = write_rows(batch.folder / "in.jsonl", 6)
    with (batch.folder / "mixtura.toml").open("a") as file:
        file.write("sampling = { max_tokens = 10 }\n")

    # Above the worst case of one row, far above what one takes.
    capped = batch("in.jsonl", "out.jsonl", "--max-tokens", "10", "--max-cost", "0.0022", "--json")

    assert capped.code == 4, capped.out
    end = json.loads(capped.out.splitlines()[-1])
    assert end["ending"] == "capped"
    assert 0 < end["done"] < 6, end
    assert not (batch.folder / "out.jsonl").exists()
    assert end["cost_usd"] <= 0.0022

    rest = batch("in.jsonl", "out.jsonl", "--max-tokens", "10", "--max-cost", "1")

    assert rest.code == 0, rest.err
    assert [line["custom_id"] for line in read_lines(batch.folder / "out.jsonl")] == names
    assert len(upstream.records) == 18


def test_what_was_answered_ahead_of_an_open_row_is_written_where_nothing_is_kept(batch):
    long = "Why? " * 20_000  # it waits for room under the cap, and the others do not wait for it
    rows = [{"id": f"r{number}", "prompt": long if number == 1 else "How?"} for number in range(5)]
    (batch.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    capped = batch("in.jsonl", "-", "--max-tokens", "10", "--max-cost", "0.1")

    assert capped.code == 4, capped.err
    assert "4 of 5 rows are done." in capped.err
    names = [json.loads(line)["custom_id"] for line in capped.out.splitlines()]
    assert names == ["r0", "r2", "r3", "r4"]


def test_what_a_cap_ends_says_nothing_of_calls_that_were_made(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 6)
    with (batch.folder / "mixtura.toml").open("a") as file:
        file.write("sampling = { max_tokens = 10 }\n")

    capped = batch("in.jsonl", "out.jsonl", "--max-tokens", "10", "--max-cost", "0.0022")

    assert capped.code == 4
    assert upstream.records
    assert "Stopped: the next row could cost up to $" in capped.err
    assert "Nothing was sent" not in capped.err


def test_a_dry_run_finds_rows_that_no_cap_in_the_command_leaves_room_for(batch, upstream):
    (batch.folder / "in.jsonl").write_text(
        json.dumps({"prompt": "Why?"}) + "\n" + json.dumps({"prompt": "Why? " * 1000}) + "\n"
    )
    words = ("in.jsonl", "out.jsonl", "--max-tokens", "10", "--dry-run", "--max-cost")

    none, some, all_ = (batch(*words, most) for most in ("0.01", "0.045", "1"))
    data = batch(*words, "0.01", "--json")

    assert (none.code, some.code, all_.code, data.code) == (4, 4, 0, 4)
    assert "Over the cap: the cheapest row could cost up to $" in none.err
    assert none.err.endswith("of the batch of $0.01: no row would be asked.\n")
    assert "the most expensive row could cost up to $" in some.err
    assert "the batch would stop without it" in some.err
    assert data.json["over_cap"].startswith("the cheapest row could cost up to $")
    assert "the batch stops if it comes to that" not in none.out + some.out
    real = batch(*(word for word in words if word != "--dry-run"), "0.01")
    assert (real.code, upstream.records) == (4, [])


def test_more_rows_of_the_same_input_go_on_from_those_that_are_done(batch, upstream):
    names = write_rows(batch.folder / "in.jsonl", 8)

    batch("in.jsonl", "out.jsonl", "--limit", "3")
    done = batch("in.jsonl", "out.jsonl", "--limit", "5000000")

    assert done.code == 0, done.err
    assert [line["custom_id"] for line in read_lines(batch.folder / "out.jsonl")] == names
    assert len(upstream.records) == 24


def test_fewer_rows_than_are_done_and_another_output_of_the_journal_are_told(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 3)
    assert batch("in.jsonl", "out.jsonl").code == 0

    fewer = batch("in.jsonl", "out.jsonl", "--limit", "2")
    other = batch("in.jsonl", "more.jsonl", "--journal", "out.jsonl.journal", "--limit", "2")
    again = batch("in.jsonl", "out.jsonl")

    assert (fewer.code, other.code, again.code) == (2, 0, 2)
    assert "3 rows were done, and now there are 2" in fewer.err
    whole = (batch.folder / "out.jsonl").read_bytes()
    assert whole.startswith((batch.folder / "more.jsonl").read_bytes())
    assert "the journal has gone on with more.jsonl" in again.err
    assert len(upstream.records) == 9


def test_a_link_to_nowhere_is_told_before_anything_is_asked(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 1)
    (batch.folder / "out.jsonl").symlink_to("gone/out.jsonl")
    (batch.folder / "round.jsonl").symlink_to("round.jsonl")

    lost, round_ = batch("in.jsonl", "out.jsonl"), batch("in.jsonl", "round.jsonl")

    assert (lost.code, round_.code) == (2, 2)
    assert "there is no folder" in lost.err
    assert "leads to itself" in round_.err
    assert not upstream.records


def test_another_command_is_told_apart_and_uses_what_asks_the_same(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 3)
    batch("in.jsonl", "out.jsonl")

    refused = batch("in.jsonl", "out.jsonl", "--system", "Be brief.")
    assert "--system was not given and is Be brief." in refused.complaint
    assert "--overwrite" in refused.err

    rows = (batch.folder / "in.jsonl").read_text()
    (batch.folder / "in.jsonl").write_text(rows + '{"id": "new", "prompt": "New?"}\n')
    text = (
        (batch.folder / "mixtura.toml")
        .read_text()
        .replace('aggregator = "last"', 'aggregator = "a"')
    )
    (batch.folder / "mixtura.toml").write_text(text)
    done = batch("in.jsonl", "out.jsonl", "--overwrite")

    assert done.code == 0, done.err
    assert "definition" in done.err
    assert len(upstream.records) == 9 + 3 + 3, "three aggregators anew, and a new row"


def test_an_output_of_someone_else_is_not_replaced(batch):
    write_rows(batch.folder / "in.jsonl", 1)
    (batch.folder / "out.jsonl").write_text("mine\n")

    assert "--overwrite" in batch("in.jsonl", "out.jsonl").complaint
    assert (batch.folder / "out.jsonl").read_text() == "mine\n"


def test_a_sample_is_the_same_for_the_same_seed(batch):
    write_rows(batch.folder / "in.jsonl", 30)

    for name in ("one", "two"):
        batch("in.jsonl", f"{name}.jsonl", "--sample", "4", "--seed", "3")

    one = read_lines(batch.folder / "one.jsonl")
    assert one == read_lines(batch.folder / "two.jsonl")
    assert len(one) == 4


def test_a_row_of_a_sample_without_a_name_has_its_number_in_the_input(batch, upstream):
    (batch.folder / "in.txt").write_text("".join(f"Row {number}?\n" for number in range(1, 31)))

    done = batch("in.txt", "out.jsonl", "--sample", "4", "--limit", "3", "--seed", "3")

    assert done.code == 0, done.err
    names = [line["custom_id"] for line in read_lines(batch.folder / "out.jsonl")]
    asked = {one.body["messages"][-1]["content"] for one in upstream.of("a")}
    assert len(names) == 3
    assert asked == {f"Row {name}?" for name in names}


def test_a_dry_run_asks_nothing(batch, upstream):
    write_rows(batch.folder / "in.jsonl", 7)

    text = batch("in.jsonl", "out.jsonl", "--dry-run").out
    data = batch("in.jsonl", "out.jsonl", "--dry-run", "--json").json
    short = batch(
        "in.jsonl", "out.jsonl", "--dry-run", "--max-tokens", "9", "--max-cost", "0.1"
    )  # fmt: skip

    assert text.startswith("7 rows, 21 calls, at most ")
    assert "Without --max-tokens" in text
    assert "--max-cost" not in text
    assert (data["rows"], data["calls"]) == (7, 21)
    assert "Without --max-tokens" not in short.out
    assert "That is more than --max-cost $0.1000" in short.out
    assert (short.code, data["missing"], data["over_cap"]) == (0, [], None)
    assert not upstream.records
    assert sorted(path.name for path in batch.folder.iterdir()) == ["in.jsonl", "mixtura.toml"]


def test_a_dry_run_counts_rows_that_share_an_answer_once(batch):
    lines = [json.dumps({"prompt": text}) for text in ("a", "b", "a", "a")]
    (batch.folder / "in.jsonl").write_text("\n".join(lines))

    apart = batch("in.jsonl", "out.jsonl", "--dry-run", "--json").json
    shared = batch("in.jsonl", "out.jsonl", "--dry-run", "--json", "--dedupe").json
    text = batch("in.jsonl", "out.jsonl", "--dry-run", "--dedupe").out

    assert (apart["rows"], apart["asked_rows"], apart["calls"]) == (4, 4, 12)
    assert (shared["rows"], shared["asked_rows"], shared["calls"]) == (4, 2, 6)
    assert shared["max_cost_usd"] == pytest.approx(apart["max_cost_usd"] / 2)
    assert text.startswith("4 rows (2 repeat an earlier one), 6 calls, ")


WRONG = {
    "not JSON": ('{"prompt": "a"}\n{"prompt"\n', (), ("in.jsonl:2: not JSON",)),
    "a web page": ("<!doctype html>\n", (), ("in.jsonl:1: not JSON: this is a web page",)),
    "a table": ("prompt,x\na,b\n", (), ("in.jsonl:1: not JSON: this looks like a table",)),
    "half a character": (r'{"prompt": "a\ud83d"}', (), ("in.jsonl:1", "surrogate")),
    "not a number": ('{"prompt": "a", "x": NaN}', (), ("in.jsonl:1", "not JSON")),
    "a key twice": ('{"prompt": "a", "prompt": "b"}', (), ("in.jsonl:1", "prompt", "twice")),
    "levels without end": ('{"a": ' + "[" * 9000 + "]" * 9000 + "}", (), ("in.jsonl:1", "deep")),
    "two rows on a line": ('{"prompt": "a"} {"prompt": "b"}', (), ("in.jsonl:1", "not JSON")),
    "no prompt": ('{"q": "a"}', (), ("in.jsonl:1", "--column", "it has q")),
    "two prompts": ('{"text": "a", "prompt": "b"}', (), ("prompt and text", "--template")),
    "no such column": ('{"q": "a"}', ("--column", "x"), ("no field x (it has q)",)),
    "null": ('{"prompt": "a", "x": null}', ("--column", "x"), ("its x is null",)),
    "no such field": ('{"q": "a"}', ("--template", "{x}"), ("no field x",)),
    "a wrong template": ('{"q": "a"}', ("--template", "{q"), ("--template", "{{")),
    "a template without fields": ('{"q": "a"}', ("--template", "q"), ("--template has no field",)),
    "both": ('{"q": "a"}', ("--template", "{q}", "--column", "q"), ("give one",)),
    "nothing": ("\n", (), ("in.jsonl has no rows",)),
    "the same name twice": (
        '{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}', (), ("in.jsonl:2", "custom_id a"),
    ),
    "no picture": ('{"prompt": "a", "image": "no.png"}', (), ("in.jsonl:1", "no.png")),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_told_with_its_line_before_anything_is_asked(batch, upstream, name):
    text, options, said = WRONG[name]
    (batch.folder / "in.jsonl").write_text(text)

    complaint = batch("in.jsonl", "out.jsonl", *options).complaint

    for words in said:
        assert words in complaint, complaint
    assert not upstream.records


def test_of_many_mistakes_the_first_are_told_and_the_others_counted(batch, upstream):
    rows = ['{"prompt": "a"}', *["{"] * 500]
    (batch.folder / "in.jsonl").write_text("\n".join(rows))

    lines = batch("in.jsonl", "out.jsonl").complaint.splitlines()

    assert lines[0] == "mixtura: 500 mistakes:"
    assert [line.split(":")[1] for line in lines[1:-1]] == [str(n) for n in range(2, 22)]
    assert lines[-1] == "and 480 more"
    assert not upstream.records


def test_what_is_no_input_is_told(batch):
    (batch.folder / "in.dat").write_text("x")

    assert "there is no file nowhere" in batch("nowhere", "out.jsonl").complaint
    assert "--format" in batch("in.dat", "out.jsonl").complaint
    assert "there is no folder" in batch("in.dat", "no/out.jsonl").complaint


def test_a_missing_package_is_told_with_the_command_that_installs_it(batch):
    (batch.folder / "in.parquet").write_bytes(b"PAR1")

    for words, package in ((("in.parquet",), "pyarrow"), (("someone/rows",), "datasets")):
        try:
            __import__(package)
        except ModuleNotFoundError:
            complaint = batch(*words, "out.jsonl").complaint
            assert f"needs {package}, which is not installed" in complaint
            assert "install" in complaint
