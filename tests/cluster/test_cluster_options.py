"""What is said of wrong options of a cluster, before anything is started."""

import pytest

from mixtura.batch.call_journal import CallJournal
from mixtura.cli.batch_engine import find_journals_folder
from tests.support.batches import team_toml, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture

BATCH = ("batch", "in.jsonl", "out.jsonl", "-m", "team")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*BATCH, "--workers", "2"), "--workers is for --engine ray"),
        ((*BATCH, "--address", "auto"), "--address is for --engine ray"),
        ((*BATCH, "--engine", "ray", "--provider-batch", "only"), "do not go together"),
        (("serve", "--replicas", "2"), "are for --engine ray"),
    ],
    ids=["workers", "address", "provider batches", "replicas"],
)
def test_options_that_do_not_go_together_are_refused(desk, words, said):  # noqa: F811
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
