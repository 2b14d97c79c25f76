"""HTTP shell: parse, call, render."""
