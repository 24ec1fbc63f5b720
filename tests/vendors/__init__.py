"""Stand-ins for vendors' servers: each checks what the real one checks and answers in its words."""
