"""What runs inside the bench's station container: source, sinks, the distant upstream, and their control port."""
