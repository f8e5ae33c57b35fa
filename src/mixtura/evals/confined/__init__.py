"""What runs inside the sandbox's processes: the standard library alone, and no import of mixtura."""
