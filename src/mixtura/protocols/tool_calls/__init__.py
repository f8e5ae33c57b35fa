"""Tool calls put together from the pieces in which they stream in."""
