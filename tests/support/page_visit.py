"""A person at the page: a real Chromium, and a record of all that the page asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.browser import MISSING, find_browser
from tests.support.paths import SUPPORT
from tests.support.requirements import leave_out

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without windows. Where there is none, or none that starts, the test is skipped.

    It fails instead where MIXTURA_REQUIRE names ``chromium``.
    """
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        found = find_browser(playwright.chromium.executable_path)
        if found is None:
            leave_out("chromium", MISSING)
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        try:
            browser = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox"] if root else []
            )
        except Error as error:  # libraries that it needs are missing, for example
            reason = str(error).strip().splitlines()[-1]
            leave_out("chromium", f"{found} does not start: {reason}; {MISSING}")
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One window, what it was told to do, and everything that it asked for or complained of."""

    def __init__(self, browser: Browser, url: str, **window: Any) -> None:
        self.url = url
        # A worker of the page's would answer in place of what a test says the network does.
        plain = {"viewport": {"width": 1280, "height": 860}, "service_workers": "block"}
        window = plain | window
        self.context = browser.new_context(**window)
        self.context.set_default_timeout(20_000)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{message.type}: {message.text}")
                if message.type in ("error", "warning")
                and "blocked by Playwright" not in message.text  # its word on the worker, not ours
                else None
            ),
        )
        self.page.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))"
        )

    def open(self, path: str = "/") -> Visit:
        self.page.goto(self.url + path)
        return self

    def ready(self, path: str = "/") -> Visit:
        """Open it and wait until the plan of the default mixture is there."""
        self.open(path)
        self.page.wait_for_selector("#plan.ready")
        return self

    def find(self, selector: str, **how: Any) -> Locator:
        return self.page.locator(selector, **how)

    def button(self, name: str, exact: bool = False) -> Locator:
        return self.page.get_by_role("button", name=name, exact=exact)

    def ask(self, question: str = "Why?") -> Visit:
        """Write a question and send it off."""
        self.find("#question").fill(question)
        self.find("#question").press("Enter")
        return self

    def answered(self) -> Visit:
        """Wait for the end of the last question, and for its record."""
        last = self.find(".turn").last
        last.locator(".totals").wait_for()
        last.get_by_role("button", name="Share").wait_for()
        return self

    def text(self, selector: str) -> str:
        return self.find(selector).first.inner_text()

    def answer(self) -> str:
        """The first answer's words, without the numbers of its sources."""
        self.find(".answer .prose").first.wait_for()
        return self.page.evaluate(
            "(() => { const copy = document.querySelector('.answer .prose').cloneNode(true);"
            " copy.querySelectorAll('sup.no').forEach((one) => one.remove());"
            " return copy.innerText.trim() })()"
        )

    def card(self, number: int) -> Locator:
        """A proposer's card, from 0, layer by layer."""
        return self.find(".card").nth(number)

    def wait(self, expression: str) -> None:
        """Until a JavaScript expression is true; asked from outside, as the page allows no eval."""
        end = time.monotonic() + 20
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            self.page.wait_for_timeout(20)

    def was_quiet(self, *, origin: str | None = None) -> None:
        """Nothing was asked of anybody else, nothing was complained of, nothing was forbidden."""
        home = origin or self.url
        assert [url for url in self.requests if not url.startswith((home, "blob:"))] == []
        assert self.complaints == [], self.complaints
        assert self.page.evaluate("window.violations") == []

    def close(self) -> None:
        self.context.close()


CONTRAST = (SUPPORT / "page_contrast.js").read_text()
"""Every text on the page whose contrast is less than WCAG's AA asks for."""
