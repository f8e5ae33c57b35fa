"""How proposals are shown to the next model: pure functions from a request to a request."""
