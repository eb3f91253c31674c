"""Long-running, root, no network port: the parent of Postfix's master(8), its log and its end."""
