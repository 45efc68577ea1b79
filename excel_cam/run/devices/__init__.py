"""All devices of one machine by one command: a process for each, started, watched and ended by this one."""
