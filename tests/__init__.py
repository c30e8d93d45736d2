"""The tests of zsmtp; folders and files mirror the package."""
