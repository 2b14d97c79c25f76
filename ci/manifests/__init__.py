"""The edit of an image in a manifest, by source span: every other byte stays. PURE."""
