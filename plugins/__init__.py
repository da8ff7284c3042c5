"""What can be trained and predicted, and the bundle between the two."""
