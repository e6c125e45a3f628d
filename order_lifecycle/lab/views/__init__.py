"""Show orders in a notebook: as tables, timelines, histories and pictures."""
