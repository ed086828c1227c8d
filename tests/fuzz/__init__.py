"""What takes input from others ends in a value or in the documented error, whatever comes: docs/security-testing.md."""
