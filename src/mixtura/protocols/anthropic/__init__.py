"""Anthropic's messages: requests, events and answers."""
