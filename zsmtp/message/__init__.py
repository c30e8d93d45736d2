"""The octets of one message, pure: from the spool's form to the form on the wire."""
