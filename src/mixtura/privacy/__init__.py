"""What of a text is someone's own: found, replaced before it leaves, and put back (pure)."""
