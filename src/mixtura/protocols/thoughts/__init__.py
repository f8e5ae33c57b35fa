"""Separates a model's thoughts from its answer."""
