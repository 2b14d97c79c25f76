"""A release becomes what an environment runs."""
