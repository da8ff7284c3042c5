"""Training tasks: states and transitions, steps, logs, metrics, and the way to the queue."""
