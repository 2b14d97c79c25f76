"""Log-in attempts are counted and slowed down."""
