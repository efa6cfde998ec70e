"""Errors of jobs.

JobError
├── QuestionsRefused   questions that can't be read or asked
└── ServiceFailed      the service does not answer as a job needs it to
"""


class JobError(Exception):
    """Root of what jobs raise; the message is for a person."""


class QuestionsRefused(JobError):
    """Raised when questions can't be read; the message says where."""


class ServiceFailed(JobError):
    """Raised when the service can't be reached, or answers with an error."""
