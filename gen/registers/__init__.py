"""Register description and the files exported from it."""
