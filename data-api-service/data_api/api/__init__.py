"""The HTTP shell: parse a request, call the engine, render its answer."""
