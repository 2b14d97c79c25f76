"""Teams within an organisation, and the rules that say which series are whose."""
