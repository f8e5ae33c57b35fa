"""Judges, what they compare, and how they err."""
