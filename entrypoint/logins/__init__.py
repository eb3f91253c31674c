"""Long-running, unprivileged: answers Postfix's question whether a login and its password are right."""
