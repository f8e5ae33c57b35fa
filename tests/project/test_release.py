"""What a release is made of: workflows, a container, a version, packages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest
import yaml

from tests.support.paths import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
HOSTS = re.compile(r"\b(?:[\w-]+\.)+(?:io|org|com|net|dev)\b|(?<!no-emit-)index-url", re.IGNORECASE)
"""A host's name, or the option that names an index."""


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


@pytest.fixture
def release():
    return read(".github/workflows/release.yml")


@pytest.fixture
def ci():
    return read(".github/workflows/ci.yml")


@pytest.mark.parametrize(
    "path",
    ["Dockerfile", "compose.yaml", "Makefile", "SECURITY.md", "scripts/install.py",
     *(str(p.relative_to(ROOT)) for p in sorted(WORKFLOWS.glob("*.yml"))),
     *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "requirements").iterdir()))],
)  # fmt: skip
def test_no_registry_is_named(path):
    assert not HOSTS.search((ROOT / path).read_text())


# ---------------------------------------------------------------- workflows


def test_tests_run_on_every_system_and_python(ci):
    jobs = ci["jobs"]
    minor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    declared = [c.rpartition(" ")[2] for c in minor if re.search(r":: 3\.\d+$", c)]

    assert jobs["linux"]["strategy"]["matrix"]["python"] == declared
    for job, system in (("macos", "macos-latest"), ("windows", "windows-latest")):
        assert jobs[job]["runs-on"] == system
        assert set(jobs[job]["strategy"]["matrix"]["python"]) == {declared[0], declared[-1]}
    assert jobs["debian"]["container"] == "debian:12"
    assert {"run": ".ci/run"} in jobs["everything"]["steps"]


def test_what_windows_is_tested_with_is_there_and_needs_no_posix(ci):
    (line,) = [s["run"] for s in ci["jobs"]["windows"]["steps"] if "pytest" in s.get("run", "")]
    folders = [word for word in shlex.split(line) if word.startswith("tests/")]

    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_a_tag_is_tested_built_published_and_only_then_an_image(release):
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    jobs = release["jobs"]
    assert jobs["tests"]["uses"] == "./.github/workflows/ci.yml"
    assert set(jobs["publish"]["needs"]) == {"tests", "build"}
    assert jobs["image"]["needs"] == jobs["announce"]["needs"] == ["publish"]


def test_packages_are_published_without_a_password_and_with_attestations(release):
    publish = release["jobs"]["publish"]
    (upload,) = [s for s in publish["steps"] if "pypi-publish" in s.get("uses", "")]

    assert publish["permissions"]["id-token"] == "write"
    assert upload["with"]["attestations"] is True
    assert "password" not in upload["with"]


def test_nothing_may_write_but_what_must(release, ci):
    assert release["permissions"] == ci["permissions"] == {"contents": "read"}
    assert "permissions" not in release["jobs"]["build"]
    for name, job in release["jobs"].items():
        writes = {k for k, v in job.get("permissions", {}).items() if v == "write"}
        assert ("contents" in writes) == (name == "announce")


def test_the_image_goes_where_variables_say_or_nowhere(release):
    image = release["jobs"]["image"]
    text = (WORKFLOWS / "release.yml").read_text()

    assert image["if"] == "vars.IMAGE != ''"
    assert "${{ vars.IMAGE }}:${{ steps.name.outputs.version }}" in text
    assert "${{ vars.IMAGE_REGISTRY }}" in text


def test_every_script_of_a_workflow_is_a_command_that_shells_can_read():
    known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = re.compile(r"^make (?:\S+=\S+ )*(.+)$", re.MULTILINE)
    for path in sorted(WORKFLOWS.glob("*.yml")):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                if "run" in step:
                    subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
                    for targets in made.findall(step["run"]):
                        assert set(targets.split()) <= set(known)


# ---------------------------------------------------------------- the version


def checked(tag, root=ROOT):
    code = (
        "import runpy, sys; from pathlib import Path; module = runpy.run_path(sys.argv[1]);"
        "print(*module['find_problems'](sys.argv[2], Path(sys.argv[3])), sep='\\n')"
    )
    script = ROOT / "scripts" / "check_release.py"
    done = subprocess.run(
        [sys.executable, "-c", code, script, tag, root], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def ready(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mixtura"\nversion = "3.2.1"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 3.2.1\n\n## 3.2.0\n")
    return tmp_path


def test_a_tag_that_is_the_version_can_be_released(ready):
    assert checked("v3.2.1", ready) == ""


def test_another_tag_is_refused_with_the_right_one(ready):
    assert "tag v3.2.1, or change the version first" in checked("v3.2.2", ready)
    assert "tag v3.2.1, or change the version first" in checked("3.2.1", ready)


def test_a_version_without_a_changelog_is_refused(ready):
    (ready / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")

    assert "rename '## Unreleased' to it" in checked("v3.2.1", ready)


def test_the_version_stands_in_one_place():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert metadata.version("mixtura") == version
    for path in (ROOT / "src").rglob("*.py"):
        assert f'"{version}"' not in path.read_text()


# ---------------------------------------------------------------- the container


def instructions():
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def test_the_container_is_no_root_and_is_asked_whether_it_is_well():
    last_stage = instructions()[max(i for i, (w, _) in enumerate(instructions()) if w == "FROM") :]
    words = dict(last_stage)

    assert words["USER"] == "10001"
    assert "/healthz" in words["HEALTHCHECK"]
    assert words["ENTRYPOINT"] == '["mixtura"]'
    removed = [rest for _, rest in instructions() if "pip uninstall" in rest]
    assert not [rest for rest in removed if "pip" in rest.partition("--yes")[2].split()]
    assert [word for word, _ in last_stage].index("USER") > [w for w, _ in last_stage].index("RUN")


def test_what_the_container_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for name in shlex.split(rest.replace("${LOCK}", "use"))[:-1]:
                assert (ROOT / name).exists()
                kept = f"!{name}" if "/" not in name else "!requirements/*.txt"
                assert kept in ignored, name


def test_every_run_step_of_the_container_is_a_command_that_a_shell_can_read():
    for word, rest in instructions():
        if word == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)


def test_open_webui_reaches_mixtura_and_nothing_outside_does():
    services = read("compose.yaml")["services"]
    mixtura, front = services["mixtura"], services["open-webui"]

    assert mixtura["network_mode"] == "service:open-webui"
    assert "ports" not in mixtura
    assert "command" not in mixtura  # `serve`, which listens on 127.0.0.1
    assert all(port.startswith("127.0.0.1:") for port in front["ports"])
    assert front["environment"]["OPENAI_API_BASE_URL"] == "http://127.0.0.1:6498/v1"
    assert mixtura["read_only"]
    assert mixtura["cap_drop"] == ["ALL"]


def test_the_volumes_of_the_composition_are_declared():
    composed = read("compose.yaml")
    for service in composed["services"].values():
        for volume in service["volumes"]:
            name = re.sub(r"\$\{\w+:-([\w-]+)\}", r"\1", volume).partition(":")[0]
            assert name in composed["volumes"]


# ---------------------------------------------------------------- the packages


@pytest.mark.soak
def test_wheel_and_source_archive_install_into_empty_environments_and_answer(tmp_path):
    """The registry is asked."""
    tree = tmp_path / "a tree"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", tree], check=True)
    subprocess.run(["make", "-s", f"PYTHON={sys.executable}", "dist"], cwd=tree, check=True)
    (wheel,) = (tree / "dist").glob("*.whl")
    (archive,) = (tree / "dist").glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [n for n in names if not n.startswith("mixtura")]
    for package in (wheel, archive):
        place = tmp_path / package.suffix
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        install = [place / "bin" / "python", "-m", "pip", "install", "-q", f"{package}[local]"]
        subprocess.run(install, check=True)
        said = subprocess.run(
            [place / "bin" / "mixtura", "ask", "-p", "smollm2-135m", "--quiet", "Hi."],
            cwd=tmp_path, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert said.stdout.strip()
        shutil.rmtree(place)
