"""What a call costs, and what may be spent."""
