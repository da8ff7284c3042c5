"""Jobs of the queue: sync, check and train."""
