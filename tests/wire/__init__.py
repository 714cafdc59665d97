"""The wire format as it was released, against the code of today (see tests/fixtures/wire/README.md)."""
