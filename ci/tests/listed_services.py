"""`[[service]]` entries of the ci.toml that a test's own repository has."""

ENTRY = """
[[service]]
folder = "{folder}"
code = "{code}"
image = "{image}"
port = {port}
ready = "/ready"
metrics = "/metrics"
processes = {{ {code} = "serve" }}
"""


def entry(folder, code, image, port):
    """One service without a package of its own."""
    return ENTRY.format(folder=folder, code=code, image=image, port=port)


def entries(codes):
    """Services named by their codes alone."""
    return "".join(
        entry(f"{code}-service", code, f"cloudopshub-{code}", 8000 + number)
        for number, code in enumerate(codes)
    )
