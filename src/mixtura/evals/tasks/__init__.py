"""Benchmarks whose answers can be checked, as ordinary tasks of Inspect."""

NAMES = ("gsm8k", "math", "ifeval", "humaneval", "jsonl")
"""What there is; each name is a module here and a task ``mixtura/NAME`` of Inspect."""
