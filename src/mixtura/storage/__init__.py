"""SQLite: cached answers, spending, runs, responses."""
