"""Mixtures behind the APIs that every tool speaks, and the page that shows their runs."""
