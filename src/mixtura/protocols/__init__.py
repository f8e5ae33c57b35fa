"""The bytes of other people's APIs, to our words and back; pure."""
