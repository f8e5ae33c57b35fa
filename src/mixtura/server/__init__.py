"""Mixtures behind the APIs that every tool speaks, and the page where one sees them think."""
