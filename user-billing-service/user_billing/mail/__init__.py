"""Letters to people: what they say, the outbox they wait in, and the ways out of it."""
