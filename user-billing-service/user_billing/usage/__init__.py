"""What each organisation used, hour by hour, as the services that serve it report."""
