"""Many prompts through one mixture: read, asked, journalled, written in their order."""
