"""`make lint`: what can be said about the repository without running it."""
