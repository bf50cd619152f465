// Removed with this module's first test.
