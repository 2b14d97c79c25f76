"""History from files: an upload becomes batches, piece by piece, in the background."""
