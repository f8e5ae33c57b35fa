"""Names of Inspect that it does not publish and that we use: here alone, each with its reason."""

from __future__ import annotations

# What is wrong before an evaluation begins. Inspect prints this one as a line, any other error of
# a model provider with its traceback; no public error stands above it that could be caught.
from inspect_ai._util.error import PrerequisiteError

# The sample and its epoch, which a model provider is not told: the public transcript has the
# sample without its epoch, and hooks are for a whole process. Without the epoch, the draws of two
# epochs would be one in our cache.
from inspect_ai.log._samples import sample_active

__all__ = ["PrerequisiteError", "sample_active"]
