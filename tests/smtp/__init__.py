"""The pure conversation: replies, commands, sessions."""
