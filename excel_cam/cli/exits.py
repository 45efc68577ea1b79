"""Exit statuses; 1 and 2 are those of the errors themselves."""

EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # as a program ends that a closed pipe stops: 128 + SIGPIPE
