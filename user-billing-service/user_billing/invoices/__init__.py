"""What an organisation owes, as documents that never change once they have a number."""
