"""`make run`: the whole platform on one machine, without Docker, root, Node or a database."""
