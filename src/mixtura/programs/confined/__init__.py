"""What runs inside the sandbox's processes: with the standard library alone."""
