"""What a tenant's last day, week or month was like, on a schedule, as a page and as a PDF."""
