"""Benchmarks as ordinary tasks of Inspect: answers that can be checked, and answers for a judge."""

TASK_NAMES = (
    "gsm8k", "math", "ifeval", "humaneval", "jsonl", "mt-bench", "flask", "alpaca-eval",
    "arena-hard",
)  # fmt: skip
"""What there is; each is a module here and a task of Inspect (``mixtura/mt_bench``)."""
