"""What is said of wrong options of a cluster, before anything is started."""

from contextlib import closing

import pytest

from mixtura.batch.call_journal import CallJournal
from mixtura.cli.batch_engine import find_journals_folder
from mixtura.cluster.worker_journals import remember_folder, workers_folder
from mixtura.storage.batch_journal import SpentAmount
from tests.support.batches import steady, team_toml, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.upstream import running

BATCH = ("batch", "in.jsonl", "out.jsonl", "-m", "team")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*BATCH, "--workers", "2"), "--workers is for --engine ray"),
        ((*BATCH, "--address", "auto"), "--address is for --engine ray"),
        ((*BATCH, "--engine", "ray", "--provider-batch", "only"), "do not go together"),
        ((*BATCH, "--engine", "ray", "--address", "ray://a:10001"), "--address auto or HOST:PORT"),
        ((*BATCH, "--provider-batch", "off", "--within", "6h"), "--within is for"),
        (("serve", "--replicas", "2"), "are for --engine ray"),
        (
            ("serve", "--engine", "ray", "--replicas", "2", "--least-replicas", "3"),
            "--least-replicas is more than --replicas",
        ),
    ],
    ids=[
        "workers",
        "address",
        "provider batches",
        "a client's address",
        "within",
        "replicas",
        "least replicas",
    ],
)
def test_options_that_do_not_go_together_are_refused(desk, words, said):  # noqa: F811
    desk.write(team_toml(desk.server.base_url))
    write_rows(desk.folder / "in.jsonl", 1)

    assert said in desk.run(*words).complaint


def test_caps_that_would_not_hold_for_all_workers_are_refused(desk):  # noqa: F811
    desk.write(team_toml(desk.server.base_url) + '[budget]\nat_the_cap = "degrade"\n')
    write_rows(desk.folder / "in.jsonl", 1)

    complaint = desk.run(*BATCH, "--engine", "ray", "--max-cost", "1").complaint

    assert 'at_the_cap = "refuse"' in complaint


def test_what_another_batch_left_in_a_shared_worker_folder_stays_its_own(desk):  # noqa: F811
    desk.write(team_toml(desk.server.base_url))
    write_rows(desk.folder / "in.jsonl", 1)
    shared = desk.folder / "shared"
    for name, out in (("theirs", "other.jsonl"), ("own", "out.jsonl")):
        left = find_journals_folder(desk.folder / f"{out}.journal", shared) / f"{name}.journal"
        left.parent.mkdir(parents=True)
        CallJournal(left, lambda *_: 0.0).close()

    done = desk.run(*BATCH, "--worker-folder", "shared")

    assert done.code == 0, done.err
    assert [path.name for path in shared.rglob("*.journal")] == ["theirs.journal"]


@pytest.mark.parametrize("words", [BATCH, ("serve",)], ids=["batch", "serve"])
def test_where_ray_is_missing_the_command_that_installs_it_is_told(desk, words):  # noqa: F811
    missing = desk.folder / "packages" / "ray"
    missing.mkdir(parents=True)
    text = 'raise ModuleNotFoundError("No module named \'ray\'", name="ray")\n'
    (missing / "__init__.py").write_text(text)
    desk.write(team_toml(desk.server.base_url))
    write_rows(desk.folder / "in.jsonl", 1)

    ran = desk.run(*words, "--engine", "ray", env={"PYTHONPATH": str(missing.parent)})

    assert "--engine ray needs ray, which is not installed" in ran.complaint
    assert "pip install" in ran.complaint


def leave_journal(folder, name="left", dollars=0.0):
    """What a killed worker left: a journal in which one call cost so many *dollars*."""
    path = folder / f"{name}.journal"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(CallJournal(path, lambda *_: 0.0)) as calls:
        calls.journal.write(spent=[SpentAmount("answer", "a", 1, 10, 10, dollars, 0)])
    return path


def test_what_killed_workers_spent_counts_under_the_cap_of_one_process(desk):  # noqa: F811
    with running(steady()) as upstream:
        desk.write(team_toml(upstream.base_url()))
        write_rows(desk.folder / "in.jsonl", 1)
        leave_journal(workers_folder(desk.folder / "out.jsonl.journal"), dollars=5.0)

        capped = desk.run(*BATCH, "--max-cost", "5")

        assert capped.code == 4, capped.err
        assert not upstream.records


def test_journals_in_a_worker_folder_are_found_where_it_is_not_given_again(desk):  # noqa: F811
    desk.write(team_toml(desk.server.base_url))
    write_rows(desk.folder / "in.jsonl", 1)
    journal = desk.folder / "out.jsonl.journal"
    folder = find_journals_folder(journal, desk.folder / "shared")
    left = leave_journal(folder)
    with closing(CallJournal(journal, lambda *_: 0.0)) as calls:
        remember_folder(calls, str(folder))

    done = desk.run(*BATCH)

    assert done.code == 0, done.err
    assert not left.exists()


def test_a_damaged_journal_of_a_worker_is_named_with_what_can_be_done(desk):  # noqa: F811
    desk.write(team_toml(desk.server.base_url))
    write_rows(desk.folder / "in.jsonl", 1)
    folder = workers_folder(desk.folder / "out.jsonl.journal")
    folder.mkdir()
    (folder / "left.journal").write_bytes(b"no journal at all" * 99)

    ran = desk.run(*BATCH)

    assert ran.code == 1, ran.err
    assert "left.journal" in ran.err
    assert "move it away" in ran.err
    assert "--journal" not in ran.err, "that is another file"


def test_a_limit_that_holds_in_one_process_only_is_refused_for_several(desk):  # noqa: F811
    one_model = team_toml(desk.server.base_url).replace(
        "concurrency = 8 }", "concurrency = 8, one_model = true }"
    )
    desk.write(one_model)
    write_rows(desk.folder / "in.jsonl", 1)

    complaint = desk.run(*BATCH, "--engine", "ray", "--workers", "2").complaint

    assert "`one_model`" in complaint
    assert "--workers 1" in complaint
