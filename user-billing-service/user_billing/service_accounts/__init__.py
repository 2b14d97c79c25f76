"""Members that are no people: they own keys, which survive whoever made them."""
