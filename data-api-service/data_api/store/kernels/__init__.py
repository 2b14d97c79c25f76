"""Plain loops over stored rows, compiled by numba; importing the package costs nothing."""
