"""What each tenant is to be billed for, hour by hour: counted as batches become blocks."""
