"""What pages look like: one style sheet and one scale of surprise for reports, notebooks, exported files and the served page."""
