"""Text in, files out: what the user wrote becomes what Postfix reads. Only `install` writes."""
