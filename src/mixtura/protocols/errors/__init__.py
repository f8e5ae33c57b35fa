"""What an error's body says: words, codes, waits."""
