"""Programs that answer a prompt: started, fed, read, and ended with all that they start."""
