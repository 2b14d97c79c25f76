"""How bytes become samples: one pure module for each protocol, named like its kernel."""
