"""What can be said of the repository without running it."""
