"""``zsmtpctl``, the postmaster's tool."""
