"""One Model a file; none imports another."""
