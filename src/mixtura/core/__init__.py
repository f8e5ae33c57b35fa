"""Values, errors, events, the model interface and redaction: no I/O, no clock, no provider."""
