"""Images nobody needs any more."""
