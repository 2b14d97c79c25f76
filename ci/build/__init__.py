"""Images: built with Docker, proven, described."""
