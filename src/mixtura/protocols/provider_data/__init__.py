"""Data that an endpoint wants back with a message that it wrote."""
