"""What can be learned about secrets without reading them: where they should not be, and who uses them."""
