"""What some notebooks need beside the package itself."""
