"""Where it happens: processes with mailboxes."""
