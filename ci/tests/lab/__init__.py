"""What stands in for the outside on one machine: a registry, git over HTTP, Jenkins."""
