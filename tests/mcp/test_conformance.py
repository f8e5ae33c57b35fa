"""The Model Context Protocol's own conformance run, against `mixtura mcp --http`."""

from __future__ import annotations

import re

import pytest

from tests.support import command_line
from tests.support.real_clients import NODE, install, run_client

pytestmark = pytest.mark.soak

desk = command_line.desk
NOT_OFFERED = (
    "logging-set-level", "completion-complete", "resources-subscribe", "resources-unsubscribe",
    "prompts-list", "prompts-get-simple", "prompts-get-with-args", "prompts-get-embedded-resource",
    "prompts-get-with-image",
)  # fmt: skip
"""What our tools have no use for. They do not announce it, so that no client asks for it."""
OWN_TOOLS = (
    "tools-call-image", "tools-call-audio", "tools-call-embedded-resource",
    "tools-call-mixed-content", "tools-call-with-logging", "tools-call-with-progress",
    "tools-call-sampling", "tools-call-elicitation", "json-schema-2020-12",
    "elicitation-sep1034-defaults", "elicitation-sep1330-enums", "server-sse-polling",
    "resources-read-text", "resources-read-binary", "resources-templates-read",
)  # fmt: skip
"""What calls a tool or reads a resource of the run's own, by a name that no other server has."""


def run_suite(address, folder, exempt=()):
    """Scenarios that passed. It fails where another does, or where an exempt one has passed."""
    program = install("mcp-conformance") / "node_modules/@modelcontextprotocol/conformance/dist"
    exempted = folder / "exempt.yml"
    exempted.write_text("server:\n" + "".join(f"  - {name}\n" for name in exempt))
    said = run_client(
        [NODE / "node", program / "index.js", "server", "--url", address, "--suite", "all",
         "--expected-failures", exempted],
        folder, home=folder / "home",
    )  # fmt: skip
    return set(re.findall(r"✓ ([a-z0-9-]+): [1-9]", said))


def test_all_that_our_tools_offer_is_as_the_protocol_wants_it(desk):
    process = desk.start("mcp", "--http", "0")
    address = process.stdout.readline().decode().split()[-1].rstrip(".")
    try:
        passed = run_suite(address, desk.folder, (*NOT_OFFERED, *OWN_TOOLS))
    finally:
        process.terminate()
        process.communicate()

    assert passed == {
        "server-initialize", "ping", "tools-list", "tools-call-simple-text", "tools-call-error",
        "server-sse-multiple-streams", "resources-list", "dns-rebinding-protection",
    }  # fmt: skip
