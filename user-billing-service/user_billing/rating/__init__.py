"""What usage costs under a plan, and why."""
