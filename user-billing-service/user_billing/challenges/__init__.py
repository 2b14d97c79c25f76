"""Steps of a log-in that was begun and waits for the next: short-lived, each for one purpose."""
