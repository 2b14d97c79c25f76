"""How the commands of one build ended."""
