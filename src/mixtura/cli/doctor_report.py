"""What `mixtura doctor` found, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mixtura.cli.common import create_console
from mixtura.terminal import print_line, print_list, print_table

if TYPE_CHECKING:
    from mixtura.cli.doctor_results import CommandCheck, DoctorReport
    from mixtura.cli.telemetry_check import TelemetryCheck


def print_report(report: DoctorReport, max_names: int, callable_here: str) -> None:
    """
    Print all of it; the models of an endpoint that lists at most *max_names* of them.
    *callable_here*: a model that can be tried.
    """
    console = create_console()
    print_line(console, f"Configuration: {report.config or 'no file; built-in mixtures only'}")
    console.print(Text(f"Default: {report.default}"))
    print_list(console, "Local models:", report.local or ["none downloaded"])
    _print_heading(console, "Endpoints")
    rows = [
        (
            row.name, row.address, "" if row.models is None else f"{len(row.models):,}",
            _format_seconds(row.seconds), _status_text(row.answers, row.error),
        )
        for row in report.endpoints
    ]  # fmt: skip
    headings = ("name", "address", "models", "seconds", "status")
    print_table(console, headings, rows, right=("models", "seconds"))
    for row in report.endpoints:
        if row.models and len(row.models) <= max_names:
            print_list(console, f"{row.name} lists", row.models)
    if report.commands:
        _print_heading(console, "Command-line tools, each a model by its name")
        tools = [
            (one.name, one.version or "", _login_text(one), one.path) for one in report.commands
        ]
        print_table(console, ("name", "version", "login", "program"), tools)
    _print_telemetry(console, report.telemetry)
    _print_calls(console, report, callable_here)
    if report.warnings:
        _print_heading(console, "Teams")
        for one in report.warnings:
            print_line(console, f"{one}.", "yellow")
    _print_heading(console, "Environment variables (values are never shown)")
    names = [
        (one.name, Text("set", "green") if one.set else Text("not set", "dim"), one.purpose)
        for one in sorted(report.environment, key=lambda one: not one.set)
    ]
    print_table(console, ("variable", "status", "what for"), names)


def _print_telemetry(console: Console, found: TelemetryCheck) -> None:
    """Nothing where nothing is sent."""
    if found.answers is None:
        return
    _print_heading(console, "Traces and metrics")
    texts = "with their texts" if found.content else "without texts"
    rows = [
        (what, address or "not sent", _status_text(bool(found.answers), found.error))
        for what, address in (("traces", found.traces), ("metrics", found.metrics))
    ]
    print_table(console, (f"{found.service_name or ''}, {texts}", "address", "status"), rows)


def _login_text(tool: CommandCheck) -> Text:
    if tool.log_in is None:
        return Text("not needed", "dim")
    if tool.logged_in is None:
        return Text("unknown", "dim")
    return Text("logged in", "green") if tool.logged_in else Text(tool.log_in, "yellow")


def _print_calls(console: Console, report: DoctorReport, callable_here: str) -> None:
    _print_heading(console, "Test calls of one token")
    if not report.calls:
        print_line(console, f"No model is configured: try one with --call {callable_here}.")
        return
    rows = [
        (
            call.model, _format_seconds(call.first_token), _format_seconds(call.seconds),
            _status_text(call.works, call.error),
        )
        for call in report.calls
    ]  # fmt: skip
    headings = ("model", "first token", "seconds", "status")
    print_table(console, headings, rows, right=headings[1:3])


def _print_heading(console: Console, text: str) -> None:
    console.print()
    print_line(console, text, "bold")


def _status_text(works: bool, error: str | None) -> Text:
    if works:
        return Text("works", "green")
    # That a machine runs no server of its own is the usual case, and no fault.
    if error and error.startswith("no connection to 127.0.0.1"):
        return Text("not running", "dim")
    return Text(error or "no answer", "yellow")


def _format_seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
