"""Jobs of kind `report` on a schedule, and their results as a page and as a PDF."""
