"""What brings a code to a phone."""
