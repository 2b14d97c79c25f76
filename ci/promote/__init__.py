"""What people decide: promote, roll back, release."""
