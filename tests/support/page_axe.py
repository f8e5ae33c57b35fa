"""What axe-core has to say against a page in a browser."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec

import pytest

from tests.support.page_visit import Visit
from tests.support.requirements import leave_out


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core, as a package of PyPI brings it."""
    if find_spec("axe_playwright_python") is None:
        leave_out("axe", "axe-core is not here: pip install axe-playwright-python")
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def found(person: Visit, axe: str, state: str) -> list[str]:
    """What axe-core has to say against the page as it is now."""
    if not person.page.evaluate("'axe' in window"):
        person.page.evaluate(axe)
    rows = person.page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
          .map(({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 160),
            nodes[0].failureSummary])"""
    )
    return [f"{state}: {row}" for row in rows]
