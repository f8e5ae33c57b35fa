"""OpenAI's chat completions: requests, messages, chunks and answers."""
