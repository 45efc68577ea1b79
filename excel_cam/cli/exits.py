"""Exit statuses; 2 is that of the errors of usage themselves."""

EXIT_ERROR = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # as a program ends that a closed pipe stops: 128 + SIGPIPE
