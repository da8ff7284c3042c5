"""People: users with passwords, what they may do in which workspace, and who asks."""
