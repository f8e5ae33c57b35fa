"""One file for each API's answers, one for its requests, one for its tools."""
