"""The decisions of delivery: PURE. Facts in, values out; `ci.tools` does, `ci.pipeline` joins."""
