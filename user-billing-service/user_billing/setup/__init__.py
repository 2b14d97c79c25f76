"""The first start of an installation."""
