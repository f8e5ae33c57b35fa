"""Intervals, style and length control, diversity (need numpy)."""
