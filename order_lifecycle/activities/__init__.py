"""What the two workflows may do to the world."""
