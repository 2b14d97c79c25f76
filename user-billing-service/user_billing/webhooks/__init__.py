"""Events told to an organisation's own servers, signed as Standard Webhooks says."""
