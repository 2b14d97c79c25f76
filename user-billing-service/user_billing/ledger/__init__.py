"""What is owed and what was paid: double entry, only ever added to."""
