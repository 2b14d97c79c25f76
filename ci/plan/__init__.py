"""Which folders to test and which images to build, and why."""
