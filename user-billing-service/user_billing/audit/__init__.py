"""The log of changes of each organisation, as a hash chain."""
