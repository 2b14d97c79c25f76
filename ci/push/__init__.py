"""Images into the registry, whole or not handed on."""
