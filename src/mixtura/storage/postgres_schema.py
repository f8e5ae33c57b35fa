"""The tables of a store in PostgreSQL, in steps."""

from __future__ import annotations

SCHEMA = "mixtura"
"""The tables stand in a schema of this name, whatever else is in the database."""

MIGRATIONS = (
    # Ids and days sort by their bytes, as in SQLite. ``rowid`` is what SQLite has by itself.
    """
    CREATE TABLE answers (
      key TEXT PRIMARY KEY, body BYTEA NOT NULL,
      written DOUBLE PRECISION NOT NULL, used DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX answers_by_use ON answers (used);
    CREATE TABLE spent (
      purse TEXT NOT NULL, day TEXT COLLATE "C" NOT NULL, dollars DOUBLE PRECISION NOT NULL,
      tokens BIGINT NOT NULL, PRIMARY KEY (purse, day)
    );
    CREATE TABLE held (
      id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, purse TEXT NOT NULL,
      day TEXT COLLATE "C" NOT NULL, dollars DOUBLE PRECISION NOT NULL, tokens BIGINT NOT NULL,
      owner TEXT NOT NULL DEFAULT '', spent DOUBLE PRECISION NOT NULL DEFAULT 0,
      spent_tokens BIGINT NOT NULL DEFAULT 0
    );
    CREATE TABLE runs (
      id TEXT COLLATE "C" PRIMARY KEY, started DOUBLE PRECISION NOT NULL, via TEXT NOT NULL,
      model TEXT NOT NULL, question TEXT NOT NULL, state TEXT NOT NULL,
      seconds DOUBLE PRECISION NOT NULL, cost DOUBLE PRECISION, calls BIGINT NOT NULL,
      tokens BIGINT NOT NULL, who TEXT NOT NULL, body BYTEA NOT NULL,
      owner TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX runs_by_start ON runs (started, id);
    CREATE TABLE responses (
      rowid BIGINT GENERATED ALWAYS AS IDENTITY, id TEXT COLLATE "C" PRIMARY KEY,
      who TEXT NOT NULL, previous TEXT, used DOUBLE PRECISION NOT NULL, size BIGINT NOT NULL,
      body BYTEA NOT NULL
    );
    CREATE INDEX responses_by_use ON responses (used);
    """,
    """
    CREATE TABLE files (
      id TEXT COLLATE "C" PRIMARY KEY, who TEXT NOT NULL, purpose TEXT NOT NULL, name TEXT NOT NULL,
      created DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION, size BIGINT NOT NULL,
      whole BIGINT NOT NULL
    );
    CREATE INDEX files_by_owner ON files (who, created, id);
    CREATE TABLE file_parts (
      file TEXT NOT NULL, number BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (file, number)
    );
    CREATE TABLE batches (
      id TEXT COLLATE "C" PRIMARY KEY, who TEXT NOT NULL,
      created DOUBLE PRECISION NOT NULL, status TEXT NOT NULL, body TEXT NOT NULL
    );
    CREATE INDEX batches_by_owner ON batches (who, created, id);
    """,
    """
    CREATE TABLE turns (
      run TEXT COLLATE "C" PRIMARY KEY, conversation TEXT COLLATE "C" NOT NULL,
      previous TEXT COLLATE "C" NOT NULL, beside TEXT COLLATE "C" NOT NULL, words TEXT NOT NULL,
      glance BYTEA NOT NULL
    );
    CREATE INDEX turns_by_conversation ON turns (conversation);
    CREATE TABLE titles (
      conversation TEXT COLLATE "C" PRIMARY KEY, title TEXT NOT NULL, words TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE choices (
      run TEXT COLLATE "C" NOT NULL, beside TEXT COLLATE "C" NOT NULL, who TEXT NOT NULL,
      chosen DOUBLE PRECISION NOT NULL,
      mixture TEXT NOT NULL, model TEXT NOT NULL, choice TEXT NOT NULL, body BYTEA NOT NULL,
      PRIMARY KEY (run, beside)
    );
    """,
)
"""Each step brings a database from its number to the next; never edited, only added to."""
