"""The HTTP shell: parse, call, render."""
