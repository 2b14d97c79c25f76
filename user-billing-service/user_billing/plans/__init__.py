"""Plans: what is sold, in versions that never change once somebody has them."""
