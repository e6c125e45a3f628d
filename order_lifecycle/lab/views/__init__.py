"""What a notebook shows: tables, timelines, histories and pictures."""
