"""Long-running, unprivileged: HTTP answers to "is the relay alive, would it take a mail"."""
