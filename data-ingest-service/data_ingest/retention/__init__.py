"""What a tenant's plan does not keep any more is deleted: blocks, then series without samples."""
