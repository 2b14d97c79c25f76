"""Amounts of money: exact, in minor units, rounded in one place."""
