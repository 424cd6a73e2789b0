"""samsjax."""
