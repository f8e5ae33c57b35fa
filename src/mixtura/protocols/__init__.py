"""Other people's APIs: from their bytes to our values and back, without any I/O."""
