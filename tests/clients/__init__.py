"""Short scripts that use the server as other people's clients do, run by test_clients."""
