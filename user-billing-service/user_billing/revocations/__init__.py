"""What became invalid, for services that verify offline."""
